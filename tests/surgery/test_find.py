"""``bevel.find``: which calls it sees, where their channels are, and that it leaves no trace."""

import random
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from bevel import InvalidValue
from bevel.surgery import Site, Sites, find
from bevel.surgery._names import UNITS


class Block(nn.Module):
    """A module whose forward is the function given."""

    def __init__(self, forward: Callable[..., Tensor], **modules: nn.Module) -> None:
        super().__init__()
        self.body = forward
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.body(self, *inputs)


X = torch.randn(2, 3, 8, 8)


def only(sites: Sites) -> Site:
    (site,) = sites
    return site


SPELLED = {
    "F.relu": (lambda s, x: F.relu(s.conv(x)), "function", "relu"),
    "F.relu in place": (lambda s, x: F.relu(s.conv(x), inplace=True), "function", "relu"),
    "F.relu by keyword": (lambda s, x: F.relu(input=s.conv(x)), "function", "relu"),
    "torch.relu": (lambda s, x: torch.relu(s.conv(x)), "function", "relu"),
    "torch.relu_": (lambda s, x: torch.relu_(s.conv(x)), "function", "relu"),
    "Tensor.relu": (lambda s, x: s.conv(x).relu(), "method", "relu"),
    "Tensor.relu_": (lambda s, x: s.conv(x).relu_(), "method", "relu"),
    "F.gelu": (lambda s, x: F.gelu(s.conv(x)), "function", "gelu"),
    "F.leaky_relu": (lambda s, x: F.leaky_relu(s.conv(x), 0.2), "function", "leaky_relu"),
    "F.silu": (lambda s, x: F.silu(s.conv(x)), "function", "silu"),
    "F.hardswish": (lambda s, x: F.hardswish(s.conv(x)), "function", "hardswish"),
    "F.relu6": (lambda s, x: F.relu6(s.conv(x)), "function", "relu6"),
    "F.elu_": (lambda s, x: F.elu_(s.conv(x)), "function", "elu"),
    "F.threshold": (lambda s, x: F.threshold(s.conv(x), 0.0, 0.0), "function", "threshold"),
    "torch.threshold": (lambda s, x: torch.threshold(s.conv(x), 0.0, 0.0), "function", "threshold"),
    "F.hardshrink": (lambda s, x: F.hardshrink(s.conv(x)), "function", "hardshrink"),
    "Tensor.hardshrink": (lambda s, x: s.conv(x).hardshrink(), "method", "hardshrink"),
    "F.softshrink": (lambda s, x: F.softshrink(s.conv(x)), "function", "softshrink"),
    "F.tanhshrink": (lambda s, x: F.tanhshrink(s.conv(x)), "function", "tanhshrink"),
    "torch.special.expit": (lambda s, x: torch.special.expit(s.conv(x)), "function", "sigmoid"),
    "torch.special.softmax": (lambda s, x: torch.special.softmax(s.conv(x), 1), "function", "softmax"),
}


@pytest.mark.parametrize("written", SPELLED)
def test_a_function_or_method_call_is_found(written: str) -> None:
    forward, kind, function = SPELLED[written]
    site = only(find(Block(forward, conv=nn.Conv2d(3, 5, 3)), X))
    assert (site.kind, site.function, site.feeder, site.channels, site.axis) == (kind, function, "conv", 5, 1)
    assert site.calls == 1
    assert not site.shared
    assert site.unit == (function in UNITS)


class NewGELU(nn.Module):
    """A formula, as transformers writes it."""

    def forward(self, x: Tensor) -> Tensor:
        return 0.5 * x * (1.0 + torch.tanh((2 / torch.pi) ** 0.5 * (x + 0.044715 * x**3)))


class HardSwish(nn.Module):
    """Made of another activation, as older mobile nets write it."""

    def __init__(self) -> None:
        super().__init__()
        self.act = nn.ReLU6()

    def forward(self, x: Tensor) -> Tensor:
        return x * self.act(x + 3) / 6


class Swish(nn.Module):
    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def forward(self, x: Tensor) -> Tensor:
        return x.mul_(x.sigmoid()) if self.inplace else x.mul(x.sigmoid())


class SquaredReLU(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x).square()


class Cube(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x**3


MODULES = [
    (nn.ReLU(), "relu", True),
    (nn.ReLU(inplace=True), "relu", True),
    (nn.LeakyReLU(0.3), "leaky_relu", True),
    (nn.PReLU(5), "prelu", True),
    (nn.RReLU(), "rrelu", True),
    (nn.Threshold(0.1, 20.0), "threshold", True),
    (SquaredReLU(), "relu_squared", True),
    (nn.Hardshrink(), "hardshrink", False),
    (nn.Softshrink(), "softshrink", False),
    (nn.GELU(), "gelu", True),
    (nn.GELU(approximate="tanh"), "gelu", True),
    (nn.SiLU(inplace=True), "silu", True),
    (nn.Softplus(beta=2), "softplus", False),
    (nn.ELU(0.5), "elu", True),
    (NewGELU(), "gelu", True),
    (HardSwish(), "hardswish", True),
    (Swish(inplace=True), "silu", True),
    (nn.Sigmoid(), "sigmoid", False),
    (nn.Tanh(), "tanh", False),
    (nn.Hardtanh(-2, 2), "hardtanh", False),
    (Cube(), "cube", False),
]


@pytest.mark.parametrize(("module", "function", "unit"), MODULES, ids=lambda m: type(m).__name__)
def test_a_module_is_known_by_what_it_computes(module: nn.Module, function: str, unit: bool) -> None:
    site = only(find(nn.Sequential(nn.Conv2d(3, 5, 3), module), X))
    assert (site.kind, site.function, site.unit, site.name, site.channels) == ("module", function, unit, "1", 5)


@pytest.mark.parametrize(
    "module",
    [nn.Identity(), nn.Dropout(0.5), nn.Flatten(), nn.MaxPool2d(2), nn.BatchNorm2d(5), nn.LocalResponseNorm(2)],
)
def test_what_is_no_activation_is_no_site(module: nn.Module) -> None:
    assert len(find(nn.Sequential(nn.Conv2d(3, 5, 3), module).eval(), X)) == 0


def test_softmax_is_a_gate() -> None:
    site = only(find(nn.Sequential(nn.Linear(4, 3), nn.Softmax(dim=-1)), torch.randn(2, 4)))
    assert (site.function, site.unit) == ("softmax", False)


@pytest.mark.parametrize("mode", [True, False])
def test_the_encoder_layer_is_seen_through_its_fused_path(mode: bool) -> None:
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, activation="gelu").train(mode)
    site = only(find(layer, torch.randn(2, 5, 16)))
    assert (site.function, site.feeder, site.channels, site.axis) == ("gelu", "linear1", 32, -1)
    encoder = nn.TransformerEncoder(layer, 2).train(mode)
    assert [s.channels for s in find(encoder, torch.randn(2, 5, 16))] == [32, 32]


AXES = {
    "conv1d": (nn.Conv1d(3, 6, 3), (2, 3, 9), 6, 1),
    "conv without a batch": (nn.Conv2d(3, 6, 3), (3, 9, 9), 6, -3),
    "conv1d without a batch": (nn.Conv1d(3, 6, 3), (3, 9), 6, -2),
    "instance norm without a batch": (nn.Sequential(nn.Conv2d(3, 6, 3), nn.InstanceNorm2d(6)), (3, 5, 5), 6, -3),
    "conv3d": (nn.Conv3d(3, 6, 3), (2, 3, 5, 5, 5), 6, 1),
    "transposed": (nn.ConvTranspose2d(3, 6, 3), (2, 3, 5, 5), 6, 1),
    "grouped": (nn.Conv2d(4, 8, 3, groups=2), (2, 4, 5, 5), 8, 1),
    "linear": (nn.Linear(4, 6), (2, 4), 6, -1),
    "linear over tokens": (nn.Linear(4, 6), (2, 5, 4), 6, -1),
    "as many tokens as channels": (nn.Linear(4, 6), (2, 6, 4), 6, -1),
    "batch norm": (nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6)), (2, 3, 5, 5), 6, 1),
    "instance norm": (nn.Sequential(nn.Conv2d(3, 6, 3), nn.InstanceNorm2d(6)), (2, 3, 5, 5), 6, 1),
    "group norm": (nn.Sequential(nn.Conv2d(3, 6, 3), nn.GroupNorm(2, 6)), (2, 3, 5, 5), 6, 1),
    "layer norm": (nn.LayerNorm(4), (2, 5, 4), 4, -1),
    "pooled": (nn.Sequential(nn.Conv2d(3, 6, 3), nn.MaxPool2d(2), nn.Upsample(scale_factor=3)), (2, 3, 9, 9), 6, 1),
    "pooled flat": (nn.Sequential(nn.Conv2d(3, 6, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()), (2, 3, 9, 9), 6, -1),
    "spectral norm": (parametrizations.spectral_norm(nn.Linear(4, 6)), (2, 4), 6, -1),
    "orthogonal": (parametrizations.orthogonal(nn.Linear(6, 6)), (2, 6), 6, -1),
}


@pytest.mark.parametrize("case", AXES)
def test_the_channel_axis_comes_from_the_layer(case: str) -> None:
    layer, shape, channels, axis = AXES[case]
    site = only(find(nn.Sequential(layer, nn.ReLU()), torch.randn(shape)))
    assert (site.channels, site.axis) == (channels, axis)


LAST_FIRST = torch.tensor([1, 0])
FOLLOWED = {
    "channels moved last": (lambda s, x: F.relu(s.conv(x).permute(0, 2, 3, 1)), 6, -1),
    "tokens": (lambda s, x: F.relu(s.conv(x).flatten(2).transpose(1, 2)), 6, -1),
    "tokens first": (lambda s, x: F.relu(s.conv(x).flatten(2)), 6, 1),
    "residual": (lambda s, x: F.relu(s.conv(x) + x.mean(1, keepdim=True)[:, :, 1:-1, 1:-1]), 6, 1),
    "scaled": (lambda s, x: F.relu(s.conv(x) * s.conv(x).mean((2, 3), keepdim=True).sigmoid_()), 6, 1),
    "two halves": (lambda s, x: F.relu(s.conv(x).chunk(2, 1)[0]), 3, 1),
    "joined": (lambda s, x: F.relu(torch.cat((s.conv(x), s.conv(x)), 1)), 12, 1),
    "a weight times it": (lambda s, x: F.relu(s.conv.weight.flatten(1) @ F.unfold(x, 3)), 6, 1),
    "einsum": (lambda s, x: F.relu(torch.einsum("oi,bihw->bohw", s.conv.weight[:, :, 0, 0], x)), 6, 1),
    "samples chosen": (lambda s, x: F.relu(s.conv(x).index_select(0, LAST_FIRST)), 6, 1),
    "pixels chosen": (lambda s, x: F.relu((y := s.conv(x)).gather(-1, y.argsort(-1))), 6, 1),
    "samples added up": (lambda s, x: F.relu(x.new_zeros(2, 6, 6, 6).index_add_(0, LAST_FIRST, s.conv(x))), 6, 1),
    "pixels put elsewhere": (lambda s, x: F.relu((y := s.conv(x)).clone().scatter(2, y.argsort(2), y)), 6, 1),
}


@pytest.mark.parametrize("case", FOLLOWED)
def test_the_channel_axis_is_followed(case: str) -> None:
    forward, channels, axis = FOLLOWED[case]
    site = next(s for s in find(Block(forward, conv=nn.Conv2d(3, 6, 3)), X) if s.function == "relu")
    assert (site.channels, site.axis) == (channels, axis)


AMBIGUOUS = {
    "no layer": (lambda s, x: F.relu(x), "no layer that has channels feeds it"),
    "merged": (lambda s, x: F.relu(s.conv(x).flatten(1)), "merged or split"),
    "split": (lambda s, x: F.relu(s.conv(x).unflatten(1, (2, 3))), "merged or split"),
    "reduced": (lambda s, x: F.relu(s.conv(x).mean(1)), "reduced the channels"),
    "two products": (lambda s, x: F.relu(s.conv(x).flatten(2).mT @ s.conv(x).flatten(2)), "product of two activations"),
    "chosen": (lambda s, x: F.relu(s.conv(x).index_select(1, LAST_FIRST)), "chose among the channels"),
    "shuffled": (lambda s, x: F.relu((y := s.conv(x)).gather(1, y.argsort(1))), "chose among the channels"),
    "two axes": (lambda s, x: F.relu((y := s.conv(x)[:, :, :, :6]) + y.permute(0, 3, 2, 1)), "different axes"),
}


@pytest.mark.parametrize("case", AMBIGUOUS)
def test_an_ambiguous_axis_is_said_to_be(case: str) -> None:
    forward, reason = AMBIGUOUS[case]
    site = only(find(Block(forward, conv=nn.Conv2d(3, 6, 3)), X))
    assert (site.channels, site.axis) == (None, None)
    assert reason in site.ambiguous


def test_one_site_is_not_called_sites() -> None:
    one, two = (find(nn.Sequential(*[nn.ReLU() for _ in range(count)]), X).total for count in (1, 2))
    assert (one, two) == ("1 site: 1 relu", "2 sites: 2 relu")


def test_one_object_at_many_sites() -> None:
    relu = nn.ReLU()
    model = nn.Sequential(nn.Linear(4, 8), relu, nn.Linear(8, 6), relu, nn.Sequential(nn.Linear(6, 2), relu))
    sites = find(model, torch.randn(3, 4))
    assert [(s.name, s.feeder, s.channels, s.shared) for s in sites] == [
        ("1", "0", 8, True),
        ("3", "2", 6, True),
        ("4.1", "4.0", 2, True),
    ]


def test_one_module_called_many_times_is_many_sites() -> None:
    model = Block(lambda s, x: s.act(s.two(s.act(s.one(x)))), one=nn.Linear(4, 8), two=nn.Linear(8, 6), act=nn.ReLU())
    assert [(s.name, s.channels, s.shared) for s in find(model, torch.randn(3, 4))] == [
        ("act.0", 8, True),
        ("act.1", 6, True),
    ]


def loop(self: Block, x: Tensor) -> Tensor:
    for layer in self.layers:
        x = F.relu(layer(x))
    return x


def test_a_loop_over_widths_is_a_site_per_step() -> None:
    layers = nn.ModuleList([nn.Linear(4, 8), nn.Linear(8, 8), nn.Linear(8, 2)])
    sites = find(Block(loop, layers=layers), torch.randn(3, 4))
    assert [(s.feeder, s.channels, s.calls) for s in sites] == [
        ("layers.0", 8, 1),
        ("layers.1", 8, 1),
        ("layers.2", 2, 1),
    ]


def recurrent(self: Block, x: Tensor) -> Tensor:
    for _ in range(5):
        x = F.relu(self.cell(x))
    return x


def test_a_loop_over_one_layer_is_one_site() -> None:
    site = only(find(Block(recurrent, cell=nn.Linear(4, 4)), torch.randn(3, 4)))
    assert site.calls == 5


def test_a_block_run_twice_shares_its_own() -> None:
    block = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    site = only(find(nn.Sequential(block, block), torch.randn(3, 4)))
    assert (site.name, site.calls) == ("0.1", 2)
    inner = Block(lambda s, x: F.relu(s.fc(x)), fc=nn.Linear(4, 4))
    site = only(find(nn.Sequential(inner, inner), torch.randn(3, 4)))
    assert (site.name, site.calls) == ("0.bevel_sites.relu", 2)


def test_a_function_wrapped_in_a_module_used_at_two_widths_belongs_to_the_caller() -> None:
    act = Block(lambda s, x: F.relu(x).cumsum(0))  # not elementwise, so no activation itself
    sites = find(nn.Sequential(nn.Linear(4, 8), act, nn.Linear(8, 2), act), torch.randn(3, 4))
    assert [(s.name, s.channels) for s in sites] == [("bevel_sites.relu", 8), ("bevel_sites.relu_1", 2)]


def branches(self: Block, x: Tensor) -> Tensor:
    return F.relu(self.one(x)) if self.training else F.relu(self.two(x))


def test_both_modes_are_seen() -> None:
    model = Block(branches, one=nn.Linear(4, 8), two=nn.Linear(4, 6))
    assert [(s.channels, s.mode, s.calls) for s in find(model.eval(), torch.randn(3, 4))] == [
        (6, "eval", 1),
        (8, "train", 0),
    ]


def detect(self: Block, x: Tensor) -> Tensor:
    y = F.relu(self.fc(x))
    return y[y.sum(1) > 0].relu() if bool(y.sum() > -1) else y


def test_a_model_that_reads_values_is_run_for_real() -> None:
    model = Block(detect, fc=nn.Linear(4, 4))
    sites = find(model, torch.randn(3, 4))
    assert len(sites) == 2
    assert "run on real tensors in train mode" in sites.notes[0]


def test_a_model_that_cannot_run_says_why() -> None:
    with pytest.raises(InvalidValue, match=r"could not be run on the example.*swap\(model, to, \*inputs, kwargs="):
        find(nn.Linear(4, 4), torch.randn(3, 5))
    with pytest.raises(InvalidValue, match="neither on fake tensors nor for real"):
        find(Block(detect, fc=nn.Linear(4, 4)).to("meta"), torch.randn(3, 4, device="meta"))


def test_wrapped_models_are_refused_with_the_remedy() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    with pytest.raises(InvalidValue, match=r"OptimizedModule.*swap first, compile afterwards"):
        find(torch.compile(model), torch.randn(2, 4))
    with pytest.raises(InvalidValue, match=r"DataParallel.*swap first, wrap afterwards"):
        find(nn.DataParallel(model), torch.randn(2, 4))
    with pytest.raises(InvalidValue, match=r"uninitialized parameters.*Run the model once first"):
        find(nn.Sequential(nn.LazyLinear(3), nn.ReLU()), torch.randn(2, 4))
    with pytest.raises(InvalidValue, match=r"must be a torch\.nn\.Module; got function"):
        find(lambda x: x, torch.randn(2, 4))  # type: ignore[arg-type]


def test_ddp_and_fsdp_are_refused_with_the_remedy(tmp_path: object) -> None:
    from torch.distributed import destroy_process_group, init_process_group
    from torch.distributed.fsdp import fully_shard
    from torch.nn.parallel import DistributedDataParallel

    init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        model = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
        with pytest.raises(InvalidValue, match=r"DistributedDataParallel.*swap first, wrap in DDP afterwards"):
            find(DistributedDataParallel(model), torch.randn(2, 4))
        fully_shard(model, mesh=torch.distributed.init_device_mesh("cpu", (1,)))
        with pytest.raises(InvalidValue, match=r"FSDPModule.*swap first, call fully_shard afterwards"):
            find(model, torch.randn(2, 4))
    finally:
        destroy_process_group()


def test_finding_leaves_no_trace() -> None:
    seen: list[Tensor] = []
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Dropout(0.5)).train()
    model[1].register_forward_hook(lambda m, i, o: seen.append(o))
    state = {k: v.clone() for k, v in model.state_dict().items()}
    attributes = [{k: id(v) for k, v in m.__dict__.items()} for m in model.modules()]
    torch.manual_seed(5)
    random.seed(5)
    expected = torch.rand(3), random.random()
    torch.manual_seed(5)
    random.seed(5)
    x = X.clone()
    find(model, x)
    assert torch.equal(torch.rand(3), expected[0])
    assert random.random() == expected[1]
    assert torch.equal(x, X)
    assert not seen
    assert model.training
    assert [{k: id(v) for k, v in m.__dict__.items()} for m in model.modules()] == attributes
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    assert torch.backends.mha.get_fastpath_enabled()


def test_finding_takes_no_memory() -> None:
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(100_000, 100_000), nn.ReLU())  # 40 GB, were it real
    assert only(find(model, torch.randn(2, 100_000, device="meta"))).channels == 100_000
    image = torch.zeros(1).expand(64, 3, 4096, 4096)
    assert only(find(nn.Sequential(nn.Conv2d(3, 512, 3), nn.ReLU()), image)).channels == 512


def test_the_table_prints() -> None:
    text = str(find(nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.Sigmoid()), X))
    assert text.splitlines()[0].split() == ["site", "kind", "function", "after", "channels", "axis", "calls", "note"]
    assert text.splitlines()[1].split() == ["1", "module", "relu", "0", "5", "1", "1"]
    assert text.splitlines()[-1] == "2 sites: 1 relu, 1 sigmoid"
