"""Every activation on the shelf keeps the laws, on every backend that can be used here."""

import pytest
import torch
from torch import nn

import bevel
from bevel import ACTIVATIONS
from bevel.ops import using
from bevel.testing import check_activation

OWNED = [name for name in ACTIVATIONS if ACTIVATIONS[name].owned]
ENGINE = [name for name in OWNED if isinstance(bevel.create(name), bevel.nn.Activation)]
MORE = [
    "sau:n=3,form=exact,learn_n=true",
    "sau:n=3,form=centred,learn_n=true",
    "sau:n=3,learn_n=true",
    "sau:learn_alpha=false",
    *(f"smooth_frelu:kernel={k},n=1.5" for k in bevel.KERNELS if k != "cauchy"),
    "mollified:f=hardtanh,kernel=triweight,n=2,learn=n+left+offset+knots+jumps+steps",
    "mollified:f=soft_shrink(0.3),kernel=student,n=2,learn=knots",
    "mollified:f=step,kernel=cauchy,n=2,learn=n+steps",
]
TORCHS_OWN_LIMITS = {  # laws that torch's own modules do not keep
    "hardsigmoid": "no second derivative",
    "logsigmoid": "loses channels_last",
    "softsign": "keeps two full-size tensors",
}


@pytest.mark.parametrize("num_parameters", [1, 3])
@pytest.mark.parametrize("name", [n for n in ACTIVATIONS if n not in TORCHS_OWN_LIMITS])
def test_activation_laws(name: str, num_parameters: int) -> None:
    assert "gradgradcheck" in check_activation(bevel.create(name, num_parameters=num_parameters))


@pytest.mark.parametrize("backend", [b for b, reason in bevel.backends().items() if not reason and b != "triton"])
@pytest.mark.parametrize("spec", [*ENGINE, *MORE])
def test_engine_laws_on_every_backend(spec: str, backend: str) -> None:
    module = bevel.create(spec, num_parameters=3)
    with using(backend):
        if backend == "reference":  # it keeps what autograd keeps
            with pytest.raises(AssertionError, match="one saved tensor"):
                check_activation(module)
        else:
            assert "one saved tensor" in check_activation(module)


def test_a_wrong_activation_breaks_a_law() -> None:
    class Rounded(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.clamp(min=0).detach() + 0 * x

    with pytest.raises(Exception, match=r"Jacobian mismatch|law broken"):
        check_activation(Rounded())


@pytest.mark.parametrize("name", OWNED)
def test_parameters_are_one_dimensional_float32(name: str) -> None:
    for p in bevel.create(name, num_parameters=4).parameters():
        assert p.shape == (4,)
        assert p.dtype == torch.float32
