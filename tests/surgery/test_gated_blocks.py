"""A swap inside SwiGLU and GeGLU blocks of transformers: found, given the width of the gate, kept, and learnt."""

from collections.abc import Callable

import pytest
import torch
from needs import needs
from torch import nn

import bevel
from bevel.surgery import swap

pytestmark = [needs("transformers"), pytest.mark.network]

TINY = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48, "vocab_size": 99}


def _model(name: str, **more: object) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        import transformers

        config = getattr(transformers, f"{name}Config")(**TINY, **more)
        model: nn.Module = getattr(transformers, f"{name}Model")(config)
        return model.eval()

    return build


def _t5() -> nn.Module:
    import transformers

    sizes = {"d_model": 32, "d_kv": 16, "d_ff": 48, "num_layers": 2, "num_heads": 2, "vocab_size": 99}
    return transformers.T5EncoderModel(transformers.T5Config(**sizes, feed_forward_proj="gated-gelu")).eval()


MODELS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "llama": (_model("Llama", num_key_value_heads=2), "logistic"),
    "phi3": (_model("Phi3", num_key_value_heads=2, pad_token_id=0), "logistic"),
    "gemma": (_model("Gemma", num_key_value_heads=2, head_dim=16), "gelu_tanh"),
    "t5 gated": (_t5, "gelu_tanh"),
}


@pytest.mark.parametrize("name", MODELS)
def test_the_gate_of_every_block_is_swapped_and_kept(name: str) -> None:
    torch.manual_seed(0)
    build, kernel = MODELS[name]
    model, ids = build(), torch.randint(3, 90, (2, 7))
    with torch.no_grad():
        want = model(input_ids=ids).last_hidden_state
    result = swap(model, "gate", kwargs={"input_ids": ids})
    sites = result.sites.swapped
    assert [(s.channels, s.axis) for s in sites] == [(48, -1)] * 2
    assert [m.family.kernel.name for m in result.activations.values()] == [kernel] * 2
    with torch.no_grad():
        got = model(input_ids=ids).last_hidden_state
    torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-4)
    model.train()(input_ids=ids).last_hidden_state.square().mean().backward()
    assert all(m.log_n.grad is not None and m.log_n.grad.any() for m in result.activations.values())


@pytest.mark.parametrize("way", ["eager", "grouped_mm"])  # a loop over the experts, and one product
def test_mixtrals_experts_are_found_through_their_indexing(way: str) -> None:
    torch.manual_seed(0)
    model = _model("Mixtral", num_key_value_heads=2, num_local_experts=3)()
    model.set_experts_implementation(way)
    ids = torch.randint(3, 90, (2, 7))
    with torch.no_grad():
        want = model(input_ids=ids).last_hidden_state
    sites = swap(model, "gate", kwargs={"input_ids": ids}).sites.swapped
    assert [(s.function, s.channels, s.axis) for s in sites] == [("silu", 48, -1)] * 2
    with torch.no_grad():
        torch.testing.assert_close(model(input_ids=ids).last_hidden_state, want, atol=1e-5, rtol=1e-4)
    assert isinstance(model.layers[0].mlp.experts.act_fn, bevel.nn.Gate)


@pytest.mark.parametrize("way", ["eager", "grouped_mm"])
def test_gpt_oss_writes_its_gate_as_a_formula(way: str) -> None:
    torch.manual_seed(0)
    model = _model("GptOss", num_key_value_heads=2, head_dim=16, num_local_experts=3, num_experts_per_tok=2)()
    with torch.no_grad():
        for parameter in model.parameters():  # its experts are not initialized
            parameter.normal_(0, 0.1)
    model.set_experts_implementation(way)
    ids = torch.randint(3, 90, (2, 7))
    with torch.no_grad():
        want = model(input_ids=ids).last_hidden_state
    result = swap(model, "gate", kwargs={"input_ids": ids})
    sites = result.sites.swapped
    assert [(s.function, s.channels, s.axis) for s in sites] == [("quick_gelu", 48, -1)] * 2
    assert [s.written for s in sites] == ["x * sigmoid(1.702 * x)"] * 2
    with torch.no_grad():
        torch.testing.assert_close(model(input_ids=ids).last_hidden_state, want, atol=1e-5, rtol=1e-4)
    model.train()(input_ids=ids).last_hidden_state.square().mean().backward()
    assert all(m.log_n.grad is not None and m.log_n.grad.any() for m in result.activations.values())


@pytest.mark.parametrize(
    ("shape", "axis", "pick", "want"),
    [
        ((4, 5, 6), 2, lambda x: x[torch.tensor([0, 2])], 2),
        ((4, 5, 6), 2, lambda x: x[torch.tensor([0, 2]), torch.tensor([1, 3])], 1),
        ((4, 5, 6), 1, lambda x: x[torch.tensor([0, 2]), :, torch.tensor([1, 3])], 1),
        ((4, 5, 6), 0, lambda x: x[:, torch.tensor([[0, 2], [1, 1]])], 0),
        ((4, 5, 6), 2, lambda x: x[:, torch.tensor([[0, 2], [1, 1]])], 3),
        ((4, 5, 6), 2, lambda x: x[torch.tensor([True, False, True, True])], 2),
        ((4, 5, 6), 1, lambda x: x[:, torch.tensor([0, 2])], None),
        ((4, 5, 6), 2, lambda x: x[torch.ones(4, 5, dtype=torch.bool)], None),
    ],
)
def test_indexing_carries_the_channel_axis(
    shape: tuple[int, ...], axis: int, pick: Callable[[torch.Tensor], torch.Tensor], want: int | None
) -> None:
    from bevel.surgery._axes import Channels, Label

    x = torch.zeros(shape)
    with Channels(lambda: "") as channels:
        channels.set(x, Label(axis, "layer"))
        out = pick(x)
    assert channels.label(out).axis == want
    if want is not None:
        assert out.shape[want] == shape[axis]
