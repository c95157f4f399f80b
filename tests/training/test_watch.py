"""``watch``: streaming numbers equal those of all batches at once; hooks come and go without a trace."""

import contextlib
import gc
import json
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from needs import needs
from torch import nn

import bevel
from bevel._watch import Watch, learnt, watch

warnings_of_tensorboard = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # its protobuf, not ours


def _model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(3, 4), bevel.FReLU(4), nn.Linear(4, 5), nn.ReLU(inplace=True), nn.Linear(5, 2), bevel.SAU(2, n=3.0)
    )


def test_counters_equal_those_of_all_batches_at_once() -> None:
    model = _model()
    batches = [torch.randn(7, 3) for _ in range(4)]
    with watch(model) as record:
        for x in batches:
            model(x)
    found = record.to_dict()
    assert list(found) == ["1", "3", "5"]
    h = model[2](model[1](model[0](torch.cat(batches)))).detach().double()
    site = found["3"]
    assert (site["calls"], site["elements"]) == (4, h.numel())
    assert site["mean"] == pytest.approx(float(h.mean()), rel=1e-5)
    assert site["std"] == pytest.approx(float(h.std(correction=0)), rel=1e-5)
    assert site["saturated"] == pytest.approx(float((h <= 0).double().mean()))
    assert site["dead_channels"] == (h <= 0).all(0).nonzero().flatten().tolist()
    edges = torch.tensor(site["histogram"]["edges"])
    want = torch.histogram(h.float(), edges.float()).hist
    assert torch.equal(torch.tensor(site["histogram"]["counts"][1:-1]).float(), want)
    assert found["1"]["saturated"] == 0, "a slope of 0.01 is not flat"


def test_dead_and_saturated() -> None:
    layer = nn.ReLU()
    with watch(nn.Sequential(layer)) as record:
        layer(torch.tensor([[-1.0, -1.0, 2.0, -1.0]]))
        layer(torch.tensor([[-1.0, 3.0, -2.0, -1.0]]))
    site = record.to_dict()["0"]
    assert site["dead_channels"] == [0, 3]
    assert (site["dead"], site["saturated"]) == (0.5, 0.75)
    record.reset()
    assert record.to_dict()["0"]["dead"] is None


def test_the_channel_axis_is_the_activations_own() -> None:
    module = bevel.FReLU(3, negative=0.0, dim=-1)
    with watch(nn.Sequential(module)) as record:
        module(torch.tensor([[[1.0, -1.0, 1.0], [1.0, -1.0, -1.0]]]))
    assert record.to_dict()["0"]["dead_channels"] == [1]
    plain = nn.ReLU()
    with watch(nn.Sequential(plain)) as record:
        plain(torch.tensor([-1.0, 1.0]))
        plain(torch.tensor(-1.0))  # another shape: counted anew
    assert record.to_dict()["0"]["dead"] == 1.0


def test_far_outliers_and_odd_inputs() -> None:
    layer = nn.ReLU()
    with watch(nn.Sequential(layer)) as record:
        layer(torch.tensor([[1e30, -1e30, 0.0]]))
        layer(torch.ones(2, 0))
        layer(torch.ones(2, 3, dtype=torch.bfloat16))
    counts = record.to_dict()["0"]["histogram"]["counts"]
    assert (counts[0], counts[-1], sum(counts)) == (1, 1, 9)


def test_nothing_is_left_behind_and_gradients_are_untouched() -> None:
    model, plain = _model(), _model()
    x = torch.randn(6, 3)
    with watch(model):
        model(x).square().mean().backward()
    plain(x).square().mean().backward()
    for a, b in zip(model.parameters(), plain.parameters(), strict=True):
        assert a.grad is not None
        assert torch.equal(a.grad, b.grad)
    assert not any(m._forward_pre_hooks for m in model.modules())


def _living() -> dict[int, int]:
    """The bytes of the memory of each tensor that lives, by its address."""
    kinds = (torch.Tensor, torch.nn.Parameter)  # those that other tests left may be fake, without memory
    tensors = [t for t in gc.get_objects() if type(t) in kinds and t.device.type == "cpu"]
    sizes: dict[int, int] = {}
    for t in tensors:
        if t.layout == torch.strided:
            with contextlib.suppress(RuntimeError):  # a batch of vmap's has none either; that of some was given back
                sizes[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
    return sizes


def test_no_batch_is_kept() -> None:
    model = _model()
    before = _living()
    record = watch(model)
    sizes = []
    for _ in range(3):
        model(torch.randn(5000, 3))
        sizes.append(sorted(size for place, size in _living().items() if place not in before))
    assert sizes[0] == sizes[1] == sizes[2]
    assert 0 < sum(sizes[0]) < 16_000
    record.remove()
    model(torch.randn(5, 3))
    assert record.to_dict()["1"]["calls"] == 3


def test_every() -> None:
    model = _model()
    with watch(model, every=3, where="1") as record:
        for _ in range(7):
            model(torch.randn(2, 3))
    assert list(record.to_dict()) == ["1"]
    assert record.to_dict()["1"]["calls"] == 3


def test_learnt_numbers_layer_by_layer_and_channel_by_channel() -> None:
    model = _model()
    with torch.no_grad():
        model[1].negative.copy_(torch.tensor([-0.1, 0.1, 0.2, 0.3]))
    record = watch(model)
    record.remove()
    slopes = record.to_dict()["1"]["slopes"]
    assert slopes["left"] == pytest.approx([-0.1, 0.1, 0.2, 0.3])
    assert slopes["right"] == [1.0] * 4
    assert "n" not in slopes
    assert learnt(model[5])["n"] == [3.0]
    assert learnt(nn.PReLU(2)) == {"left": [0.25, 0.25]}
    assert learnt(bevel.SmoothFReLU(n=5.0))["n"] == pytest.approx([5.0])
    assert learnt(bevel.create("swish")) == {"beta": [1.0]}
    row = record.layers()[0]
    assert (row["site"], row["quantity"], row["channels"], row["negative"]) == ("1", "left", 4, 0.25)
    assert (row["mean"], row["min"], row["max"]) == pytest.approx((0.125, -0.1, 0.3))
    assert row["std"] == pytest.approx(math.sqrt(0.021875), rel=1e-5)
    json.dumps(record.to_dict())


def test_every_activation_of_the_catalog_can_be_watched() -> None:
    for name in bevel.ACTIVATIONS:
        module = nn.Sequential(bevel.create(name, 3))
        if name == "identity":
            continue
        with watch(module) as record:
            module(torch.randn(4, 3))
        site = record.to_dict()["0"]
        assert site["elements"] == 12, name
        assert 0 <= site["saturated"] <= 1, name


@needs("matplotlib")
def test_plots(tmp_path: Path) -> None:
    model = _model()
    with watch(model) as record:
        model(torch.randn(50, 3))
    whole = record.figure()
    assert len(whole.axes) == 8  # two a site, the curve of the one that has a single one, and the layers
    assert "saturated" in whole.axes[0].get_title()
    whole.savefig(tmp_path / "watch.png")
    assert (tmp_path / "watch.png").stat().st_size > 1000
    watch(model).figure()  # before the first batch


@needs("matplotlib")
@pytest.mark.parametrize("spread", [False, True])
def test_slopes_can_be_read_beside_a_sharpness(spread: bool) -> None:
    """Limits, not counts: an n of 20000 on the slopes' axis makes a flat line of them."""
    model = nn.Sequential(nn.Linear(3, 4), bevel.SAU(4, learn_n=True), nn.Linear(4, 5), bevel.FReLU(5))
    with torch.no_grad():
        model[1].alpha.copy_(torch.tensor([-0.2, 0.1, 0.2, 0.3]))
        if spread:
            model[1].log_n.sub_(torch.arange(4.0))
        model[3].negative.copy_(torch.linspace(-0.5, 0.5, 5))
    whole = watch(model).figure()
    by_label = {axes.get_xlabel() or axes.get_ylabel() or axes.get_title(): axes for axes in whole.axes[::-1]}
    channels, layers = by_label["channel"], whole.axes[4 if not spread else 5]
    assert channels.get_ylim()[0] > -0.5
    assert channels.get_ylim()[1] < 1.2
    assert (channels.get_title() == "n = 20000") != spread
    if spread:
        sharpness = by_label["n"]
        assert sharpness.get_yscale() == "log"
        assert sharpness.lines[0].get_ydata() == pytest.approx([2e4 / math.e**i for i in range(4)], rel=1e-4)
    assert layers.get_title().startswith("layer by layer")
    assert [t.get_text() for t in layers.get_xticklabels()] == ["1", "3"]
    left = next(line for line in layers.lines if line.get_label() == "left")
    assert left.get_ydata() == pytest.approx([0.1, 0.0], abs=1e-6)
    assert -0.7 < layers.get_ylim()[0] < -0.5 < 1.0 < layers.get_ylim()[1] < 1.2


@needs("tensorboard")
@warnings_of_tensorboard
def test_tensorboard(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from torch.utils.tensorboard import SummaryWriter

    model = _model()
    with watch(model) as record, SummaryWriter(str(tmp_path)) as writer:
        record.to_tensorboard(writer, 0)
        model(torch.randn(50, 3))
        record.to_tensorboard(writer, 1)
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    tags = events.Tags()
    assert "activations/1/saturated" in tags["scalars"]
    assert {"activations/1/pre-activations", "activations/1/left", "activations/5/n"} <= set(tags["histograms"])
    assert events.Scalars("activations/3/dead")[0].value == pytest.approx(record.to_dict()["3"]["dead"])
    histogram = events.Histograms("activations/1/pre-activations")[0].histogram_value
    assert histogram.num == 200
    assert sum(histogram.bucket) == 200


def test_misuse_is_refused() -> None:
    class Functional(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return F.relu(x)

    with pytest.raises(bevel.InvalidValue, match=r"the model has none\. Functional calls"):
        watch(Functional())
    with pytest.raises(bevel.InvalidValue, match="every must be an integer >= 1; got 0"):
        Watch(_model(), every=0)
