"""Spec strings as names of activations in the configurations of transformers and timm."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from needs import needs
from torch import nn

import bevel
from bevel import InvalidValue, UnknownName
from bevel.integrations import enable

SMALL = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 50}
IDS = torch.arange(6)[None]


@pytest.fixture
def transformers() -> Iterator[Any]:
    with enable("transformers"):
        import transformers as library

        library.logging.set_verbosity_error()
        library.logging.disable_progress_bar()
        yield library


def _activation(model: Any) -> nn.Module:
    found: nn.Module = model.encoder.layer[0].intermediate.intermediate_act_fn
    return found


# ------------------------------------------------------------------------------------------------------- transformers


@needs("transformers")
def test_every_name_makes_its_module_in_transformers(transformers: Any) -> None:
    from transformers.activations import ACT2CLS, ACT2FN

    for name, entry in bevel.ACTIVATIONS.items():
        assert name in ACT2FN
        made = ACT2FN[name]
        assert made(torch.zeros(2, 3)).shape == (2, 3)
        if name not in ACT2CLS:
            assert type(made) is type(entry.factory())
    assert type(ACT2FN["swish"]) is nn.SiLU  # its own name keeps its meaning
    assert isinstance(ACT2FN["swish:beta=1"], bevel.nn.Swish)


@needs("transformers")
def test_a_configuration_names_an_activation(transformers: Any, tmp_path: Path) -> None:
    spec = "smooth_frelu:n=2,kernel=box"
    config = transformers.LlamaConfig(hidden_act=spec, num_key_value_heads=2, **SMALL)
    model = transformers.LlamaModel(config).eval()
    acts = [layer.mlp.act_fn for layer in model.layers]
    assert [act.positive.shape for act in acts] == [(1,), (1,)]  # one slope for all channels, one module a layer
    with torch.no_grad():
        acts[0].positive.fill_(1.5)
    model.save_pretrained(tmp_path)
    again = transformers.LlamaModel.from_pretrained(tmp_path).eval()
    assert again.config.hidden_act == spec
    assert torch.equal(again(IDS).last_hidden_state, model(IDS).last_hidden_state)
    result = bevel.swap(model, spec, IDS, preserve=False)
    assert {site.channels for site in result.sites} == {32}  # a swap gives one a channel


@needs("transformers")
def test_what_a_checkpoint_lacks_gets_its_initial_value(transformers: Any, tmp_path: Path) -> None:
    """from_pretrained builds on "meta"; what the files lack lies in memory that nothing has written."""
    transformers.BertModel(transformers.BertConfig(**SMALL)).save_pretrained(tmp_path / "gelu")
    for spec in ("sau:n=5,alpha=0.3,learn_n=true", "pau", "prelu:init=0.1"):
        model = transformers.BertModel.from_pretrained(tmp_path / "gelu", hidden_act=spec)
        got, want = _activation(model).state_dict(), bevel.create(spec).state_dict()
        assert got.keys() == want.keys()
        assert all(torch.equal(got[key], want[key]) for key in want), spec
    model = transformers.BertModel.from_pretrained(tmp_path / "gelu", hidden_act="sau:n=5")
    with torch.no_grad():
        _activation(model).alpha.fill_(0.7)
    model.save_pretrained(tmp_path / "sau")
    half = transformers.BertModel.from_pretrained(tmp_path / "sau", hidden_act="sau:n=7,learn_n=true")
    assert _activation(half).alpha.item() == pytest.approx(0.7)  # loaded
    assert _activation(half).log_n.exp().item() == pytest.approx(7)  # lacking


@needs("transformers")
def test_a_swapped_class_gets_initial_values_too(transformers: Any, tmp_path: Path) -> None:
    config = transformers.BertConfig(hidden_act="relu", **SMALL)
    model = transformers.BertModel(config)
    model.save_pretrained(tmp_path)
    plan = bevel.swap(model, "frelu", IDS).plan()

    class Swapped(transformers.BertModel):  # type: ignore[misc]
        def __init__(self, config: Any) -> None:
            super().__init__(config)
            bevel.surgery.apply_plan(self, plan)

    act = _activation(Swapped.from_pretrained(tmp_path))
    assert torch.equal(act.positive, torch.ones(32))
    assert torch.equal(act.negative, torch.zeros(32))


@needs("transformers")
def test_transformers_is_told_what_is_wrong_with_a_name(transformers: Any) -> None:
    from transformers.activations import ACT2FN, get_activation
    from transformers.utils.type_validators import activation_fn_key

    assert "rellu" not in ACT2FN
    with pytest.raises(UnknownName, match="did you mean 'relu'"):
        ACT2FN["rellu"]
    with pytest.raises(InvalidValue, match="must be finite and > 0; got -1"):
        get_activation("sau:n=-1")
    (check,) = activation_fn_key(default="gelu").metadata["validator"]
    check("sau:n=5")
    with pytest.raises(ValueError, match="got rellu"):
        check("rellu")


# --------------------------------------------------------------------------------------------------------------- timm


@needs("timm")
def test_every_name_makes_its_layer_in_timm() -> None:
    with enable("timm"):
        from timm.layers import create_act_layer, get_act_layer
        from timm.layers.create_act import _ACT_LAYER_DEFAULT, _ACT_LAYER_ME

        for name, entry in bevel.ACTIVATIONS.items():
            made = create_act_layer(name, inplace=True)
            assert made(torch.zeros(2, 3)).shape == (2, 3)
            if name not in _ACT_LAYER_ME.keys() | _ACT_LAYER_DEFAULT.keys():
                assert type(made) is type(entry.factory())
        assert get_act_layer("swish") is nn.SiLU
        with pytest.raises(UnknownName, match="did you mean 'relu'"):
            get_act_layer("rellu")
        with pytest.raises(UnknownName, match="'sau' takes no argument 'm'"):
            get_act_layer("sau:m=5")


@needs("timm")
def test_a_model_of_timm_is_made_with_a_spec() -> None:
    import timm

    with enable("timm"):
        model = timm.create_model("test_vit", act_layer="smooth_frelu:n=2", img_size=32)
    acts = [m for m in model.modules() if isinstance(m, bevel.SmoothFReLU)]
    assert len(acts) == 6
    assert {act.num_parameters for act in acts} == {1}
    x = torch.randn(2, 3, 32, 32)
    model(x).sum().backward()
    assert all(act.positive.grad is not None for act in acts)
    result = bevel.swap(model, "smooth_frelu:n=2", x, preserve=False)
    assert {site.channels for site in result.sites} == {192}


# --------------------------------------------------------------------------------------------------------- on and off


def _known(name: str) -> tuple[bool, bool]:
    """Whether transformers and timm know a name."""
    from timm.layers import get_act_layer
    from transformers.activations import ACT2FN

    try:
        get_act_layer(name)
    except KeyError:
        return name in ACT2FN, False
    return name in ACT2FN, True


@needs("transformers", "timm")
def test_it_ends_with_the_last_that_asked_for_it() -> None:
    from transformers import PreTrainedModel
    from transformers.activations import ACT2FN

    before = (type(ACT2FN), PreTrainedModel._initialize_weights)
    assert _known("sau:n=5") == (False, False)
    with enable("transformers", "timm"):
        assert _known("sau:n=5") == (True, True)
        first = enable("timm")
        with enable("transformers"):
            pass
        assert _known("sau:n=5") == (True, True)
    assert _known("sau:n=5") == (False, True)  # a call without a block lasts
    first.close()
    first.close()
    assert _known("sau:n=5") == (False, False)
    assert (type(ACT2FN), PreTrainedModel._initialize_weights) == before


@needs("transformers", "timm")
def test_all_libraries_are_enabled_or_none(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnknownName, match="did you mean 'transformers'"):
        enable("timm", "transformer")
    monkeypatch.delattr("transformers.PreTrainedModel._initialize_weights")
    with pytest.raises(InvalidValue, match=r"transformers must have .*; got version \d.*_initialize_weights"):
        enable("timm", "transformers")
    monkeypatch.setitem(sys.modules, "transformers.activations", None)
    with pytest.raises(InvalidValue, match=r"transformers must have .*; got version \d.*transformers.activations"):
        enable("timm", "transformers")
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ModuleNotFoundError, match="transformers"):
        enable("timm", "transformers")
    monkeypatch.undo()
    assert _known("sau:n=5") == (False, False)
