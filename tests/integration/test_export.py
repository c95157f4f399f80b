"""torch.export and ONNX: the same numbers outside torch, in few standard operators."""

import io
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from needs import needs
from torch import Tensor, nn

import bevel
from bevel.deploy import fold, harden

from .zoo import CHANNELS, OWNED, inputs, perturbed, zoo

onnx = needs("onnxscript", "onnxruntime")

# The exporter's own use of deprecated parts of torch and of Python.
pytestmark = [
    pytest.mark.compile,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    yield
    logger.setLevel(level)


class Each(nn.Module):
    """Every activation by itself: one export for all, with one output for each."""

    def __init__(self, modules: list[nn.Module]) -> None:
        super().__init__()
        self.activations = nn.ModuleList(modules)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(activation(x) for activation in self.activations)


def _onnx(model: nn.Module, x: Tensor, **options: Any) -> Any:
    program = torch.onnx.export(model.eval(), (x,), dynamo=True, verbose=False, **options)
    assert program is not None
    program.optimize()
    return program


def _run(program: Any, x: Tensor) -> list[np.ndarray]:
    import onnxruntime

    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString())
    return list(session.run(None, {session.get_inputs()[0].name: x.numpy()}))


def _operators(program: Any) -> list[str]:
    return [node.op_type for node in program.model.graph]


def _edges() -> Tensor:
    """Return normal numbers, and numbers where formulas overflow or cancel: next to 0 and far out."""
    far = torch.tensor([0.0, 1e-8, 1e-4, 3e-4, 30.0, 1e4]).repeat(4, 1)
    return torch.cat([inputs(4, 90), far, -far], dim=1).T.reshape(-1, CHANNELS, 3).contiguous()


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("name", OWNED)
def test_export_with_a_free_batch_size(name: str, strict: bool) -> None:
    module, x = perturbed(name), inputs(3, CHANNELS, 5)
    batch = torch.export.Dim("batch", min=2, max=64)
    program = torch.export.export(module, (x,), dynamic_shapes=({0: batch},), strict=strict)
    assert not [n for n in program.graph.nodes if "bevel" in str(n.target)]
    for size in (3, 7):
        x = inputs(size, CHANNELS, 5, seed=size)
        torch.testing.assert_close(program.module()(x), module(x), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", OWNED)
def test_an_exported_program_has_the_same_gradients(name: str) -> None:
    module, x = perturbed(name), inputs(3, CHANNELS).requires_grad_()
    again = torch.export.export(module, (inputs(3, CHANNELS),)).module()
    want = torch.autograd.grad(module(x).square().sum(), [x, *module.parameters()])
    got = torch.autograd.grad(again(x).square().sum(), [x, *again.parameters()])
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("form", ["published", "exact", "centred"])
@pytest.mark.parametrize("alpha", [0.15, 0.0, 1.0])
def test_the_portable_form_of_every_sau(form: str, alpha: float) -> None:
    for n in (0.5, 3.0, 20000.0):
        module, x = bevel.SAU(alpha=alpha, n=n, form=form, learn_n=n == 3.0).double(), _edges().double()
        y = torch.export.export(module, (x,)).module()(x)
        torch.testing.assert_close(y, module(x), rtol=1e-13, atol=1e-15 * 1e4)


def test_the_portable_form_with_a_knot_elsewhere_an_offset_and_steps() -> None:
    for kernel, n in (("gaussian", 2.0), ("logistic", 2.0)):
        f = bevel.PiecewiseLinear(left=0.3, offset=-0.7, knots=[0.4], jumps=[1.1], steps=[-0.6])
        module, x = bevel.Mollified(1, f, kernel, n=n, learn="knots+jumps").double(), inputs(50).double()
        torch.testing.assert_close(torch.export.export(module, (x,)).module()(x), module(x), rtol=1e-13, atol=1e-13)
    kinked = bevel.deploy._kinked.Kinked(module)
    torch.testing.assert_close(torch.export.export(kinked, (x,)).module()(x), kinked(x), rtol=1e-13, atol=1e-13)


@onnx
def test_onnx_equals_torch_to_a_millionth_in_the_operators_that_the_cards_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "docs")
    import exported

    names, x = list(exported.rows()), _edges()
    assert names == [name for name in bevel.ACTIVATIONS if bevel.ACTIVATIONS[name].owned]
    model = exported.Each(names).eval()
    program = _onnx(model, x)
    for name, got, want in zip(names, _run(program, x), model(x), strict=True):
        assert np.isfinite(got).all(), name
        torch.testing.assert_close(
            torch.from_numpy(got), want.detach(), rtol=1e-6, atol=1e-6, msg=lambda m, n=name: n + m
        )
    domains = {node.domain for node in program.model.graph}
    assert domains == {""}, "only standard operators"
    assert dict(zip(names, exported.operators(program), strict=True)) == exported.rows(), "run python docs/exported.py"


@onnx
def test_onnx_with_every_kernel() -> None:
    kernels = [k for k in bevel.KERNELS if bevel.KERNELS[k].has_moment]
    model, x = Each([bevel.Mollified(1, "relu6", k, n=2.0) for k in kernels]), _edges()
    for kernel, got, want in zip(kernels, _run(_onnx(model, x), x), model(x), strict=True):
        torch.testing.assert_close(torch.from_numpy(got), want, rtol=1e-6, atol=2e-6, msg=lambda m, k=kernel: k + m)


@onnx
def test_saus_and_frelus_operators() -> None:
    x = _edges()
    sau = _onnx(bevel.SAU(CHANNELS), x)
    assert bevel.SAU().family.n == 20000.0
    assert len(_operators(sau)) <= 10
    assert set(_operators(sau)) == {"Mul", "Add", "Neg", "Erf", "Exp"}
    assert _operators(_onnx(bevel.FReLU(CHANNELS), x)) == ["Relu", "Mul", "Clip", "Mul", "Add"]
    zero = torch.zeros(1, CHANNELS, requires_grad=True)  # at the corner: the left slope, as everywhere in bevel
    (slope,) = torch.autograd.grad(torch.export.export(bevel.FReLU(), (zero,)).module()(zero).sum(), zero)
    torch.testing.assert_close(slope, torch.full_like(zero, 0.01))


@onnx
@pytest.mark.parametrize(
    ("negative", "operators"),
    [
        ((0.0,) * 4, ["Conv", "Relu"]),
        ((0.1,) * 4, ["Conv", "LeakyRelu"]),
        ((0.1, 0.2, 0.3, 0.4), ["Conv", "PRelu"]),
    ],
)
def test_a_folded_frelu_is_one_operator_behind_its_convolution(
    negative: tuple[float, ...], operators: list[str]
) -> None:
    model, x = nn.Sequential(nn.Conv2d(3, 4, 3), bevel.FReLU(4, positive=2.0)), inputs(2, 3, 8, 8)
    with torch.no_grad():
        model[1].negative.copy_(torch.tensor(negative))
    folded = fold(model, x).model
    program = _onnx(folded, x)
    assert _operators(program) == operators
    np.testing.assert_allclose(_run(program, x)[0], model(x).detach().numpy(), rtol=1e-5, atol=1e-6)


@onnx
def test_a_hardened_sau_is_one_operator() -> None:
    model, x = nn.Sequential(nn.Linear(4, 4), bevel.SAU(4)), inputs(2, 4)
    assert _operators(_onnx(harden(model, 1e-4).model, x)) == ["Gemm", "LeakyRelu"]


@onnx
def test_onnx_with_a_free_batch_size_and_half_precision() -> None:
    model, x = zoo(["sau", "frelu", "smooth_frelu"]), inputs(3, CHANNELS)
    program = _onnx(model, x, dynamic_shapes=({0: torch.export.Dim("batch")},))
    other = inputs(11, CHANNELS, seed=1)
    np.testing.assert_allclose(_run(program, other)[0], model(other).detach().numpy(), rtol=1e-5, atol=1e-6)
    half = bevel.SAU(CHANNELS)
    got = _run(_onnx(half, x.half()), x.half())[0]
    assert got.dtype == np.float16
    np.testing.assert_allclose(got, half(x.half()).detach().numpy(), rtol=1e-3)


@pytest.mark.filterwarnings("ignore:The given buffer is not writable:UserWarning")  # torch 2.11's own
def test_a_saved_program_loads() -> None:
    module, x = perturbed("smooth_frelu"), inputs(3, CHANNELS)
    stream = io.BytesIO()
    torch.export.save(torch.export.export(module, (x,)), stream)
    stream.seek(0)
    torch.testing.assert_close(torch.export.load(stream).module()(x), module(x), rtol=1e-6, atol=1e-6)


@needs("torchao")
def test_quantisation_of_a_folded_model() -> None:
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
    from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86

    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), bevel.FReLU(8, positive=2.0, negative=0.0), nn.Flatten(), nn.Linear(288, 5)
    )
    x = inputs(16, 3, 8, 8)
    folded = fold(model.eval(), x).model
    exported = torch.export.export(folded, (x,)).module()
    quantizer = x86.X86InductorQuantizer().set_global(x86.get_default_x86_inductor_quantization_config())
    prepared = prepare_pt2e(exported, quantizer)
    for seed in range(4):
        prepared(inputs(16, 3, 8, 8, seed=seed))
    quantised = convert_pt2e(prepared)
    kinds = {str(n.target) for n in quantised.graph.nodes if n.op == "call_function"}
    assert any("quantize_per_tensor" in k for k in kinds)
    assert "aten.relu.default" in kinds, "the activation is no longer one the quantizer knows"
    assert not any("where" in k for k in kinds)
    error = float((quantised(x) - model(x)).detach().abs().max() / model(x).detach().abs().max())
    assert 0 < error < 0.05
