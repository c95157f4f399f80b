"""The models of torchvision and timm: fitted to small images, with the trial's activation everywhere, and countable.

Most of it runs on the meta device: shapes without memory or arithmetic.
"""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from small_trials import trial
from torch import Tensor, nn

import bevel
from bevel.errors import InvalidValue, UnknownName
from bevel_lab.models import MODELS, Model, _library
from bevel_lab.runtime.determinism import seed_global_generators
from bevel_lab.runtime.rng import derive, generator
from bevel_lab.surgery.inspection import inspect
from bevel_lab.tasks import init_he
from bevel_lab.training import run
from bevel_lab.training.activations import ActivationFactory, describe

pytestmark = pytest.mark.network
LIBRARY = [n for n, m in MODELS.items() if isinstance(m, Model) and m.build.__module__ == _library.__name__]

# At 224×224 and 1000 classes: the papers' own figures to their digits, the libraries' tables to theirs (torchvision's
# "Table of all available classification weights", timm's results-imagenet.csv).
IMAGENET = {
    "alexnet": 61_100_840,  # torchvision; 60 M in Krizhevsky et al. 2012, of two columns
    "vgg11_bn": 132_868_840,  # torchvision; 133 M in Simonyan and Zisserman 2015, table 2
    "vgg16_bn": 138_365_992,  # torchvision; 138 M there
    "resnet18": 11_689_512,  # torchvision
    "resnet34": 21_797_672,  # torchvision
    "resnet50": 25_557_032,  # torchvision
    "resnext50": 25_028_904,  # torchvision; 25.0 M in Xie et al. 2017, table 1
    "densenet121": 7_978_856,  # torchvision
    "inception_v3": 23_834_568,  # torchvision's 27,161,264 less the auxiliary head; Keras has 23.9 M without
    "xception": 22_855_952,  # 22,855,952 in Chollet 2017, table 3
    "squeezenet": 1_248_424,  # torchvision; 50 times fewer than AlexNet's in Iandola et al. 2016
    "mobilenet_v1": 4_231_976,  # timm; 4.2 M in Howard et al. 2017, table 8
    "mobilenet_v2": 3_504_872,  # torchvision; 3.4 M in Sandler et al. 2018, table 4
    "shufflenet_v2_x0_5": 1_366_792,  # torchvision; 1.4 M in Ma et al. 2018, table 6
    "shufflenet_v2_x1_0": 2_278_604,  # 2.3 M there
    "shufflenet_v2_x1_5": 3_503_624,  # 3.5 M there
    "shufflenet_v2_x2_0": 7_393_996,  # 7.4 M there
    "efficientnet_b0": 5_288_548,  # torchvision; 5.3 M in Tan and Le 2019, table 2
}

# At 32×32 and 10 classes. "kuangliu": the PyTorch CIFAR repository of that name, whose networks most papers train.
CIFAR = {
    "vgg11_bn": 9_231_114,  # kuangliu
    "vgg16_bn": 14_728_266,  # kuangliu
    "resnet18": 11_173_962,  # kuangliu, 11.17 M
    "resnet34": 21_282_122,  # kuangliu
    "resnet50": 23_520_842,  # kuangliu
    "preact_resnet18": 11_171_146 + 1_024,  # kuangliu leaves out the paper's last batch norm
    "densenet121": 6_956_298 + 128,  # kuangliu leaves out the stem's batch norm
    "mobilenet_v1": 3_217_226,  # kuangliu
    "senet18": 11_264_074,  # 11.26 M: ResNet-18 and, a block of C channels, C²/8 + C + C/16 for the two layers
    "shufflenet_v2_x1_0": 1_263_854,  # kuangliu
    "wide_resnet28_10": 36_479_194,  # 36.5 M in Zagoruyko and Komodakis 2016
    "wide_resnet16_4": 2_748_890,  # 2.7 M as usually given
}

PREACT = {
    "preact_resnet18": ((2, 2, 2, 2), False),
    "preact_resnet34": ((3, 4, 6, 3), False),
    "preact_resnet50": ((3, 4, 6, 3), True),
}
"""Blocks of each stage, and whether they are bottlenecks."""


class Bare:
    """Leaves the network's own activations."""

    def __call__(self, channels: int, dim: int = 1) -> nn.Module:
        return nn.ReLU()

    def swap(self, model: nn.Module, *example: Any) -> nn.Module:
        return model


def on_meta(name: str, activation: Any, channels: int, side: int, classes: int) -> nn.Module:
    with torch.device("meta"):
        model: nn.Module = MODELS.item(name).build(activation, channels, (side, side), classes)
    return model


def count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("name", LIBRARY)
def test_images_of_all_sizes_fit(name: str) -> None:
    for channels, side in ((1, 28), (3, 32), (3, 64), (1, MODELS.item(name).min_size)):
        model = on_meta(name, Bare(), channels, side, 7)
        assert _library.shape_of(model, (2, channels, side, side)) == (2, 7)


@pytest.mark.parametrize("name", LIBRARY)
def test_every_unit_becomes_the_trials(name: str) -> None:
    factory = ActivationFactory("prelu")
    model = on_meta(name, factory, 1, 28, 7)
    calls = factory.sites(model)
    images = torch.empty(2, 1, 28, 28, device="meta")
    assert model(images).shape == (2, 7)
    found = [s for s in bevel.find(model, images) if s.unit]
    assert len(found) == len(calls) > 0
    assert {s.function for s in found} == {"prelu"}
    assert [c.channels for c in calls.values()] == [s.channels for s in found]
    assert all(c.module.num_parameters == c.channels for c in calls.values())
    assert count(model) - sum(c.channels for c in calls.values()) == count(on_meta(name, Bare(), 1, 28, 7)), (
        "nothing else changes"
    )


@pytest.mark.parametrize("name", IMAGENET)
def test_parameters_at_imagenets_shape(name: str) -> None:
    assert count(on_meta(name, Bare(), 3, 224, 1000)) == IMAGENET[name]


@pytest.mark.parametrize("name", CIFAR)
def test_parameters_at_cifars_shape(name: str) -> None:
    assert count(on_meta(name, Bare(), 3, 32, 10)) == CIFAR[name]


def test_each_network_has_a_published_count() -> None:
    assert set(LIBRARY) == {*IMAGENET, *CIFAR, *PREACT}


@pytest.mark.parametrize("name", PREACT)
def test_parameters_of_residual_networks_that_activate_first(name: str) -> None:
    """Counted from He et al. 2016: batch norm, activation, convolution; a 1×1 shortcut where shapes differ."""
    depths, bottleneck = PREACT[name]
    total, wide = 3 * 64 * 9, 64  # the stem
    for stage, depth in enumerate(depths):
        plane = 64 * 2**stage
        out = plane * (4 if bottleneck else 1)
        for block in range(depth):
            total += 2 * wide + 2 * plane  # batch norms
            total += wide * plane + 9 * plane**2 + 2 * plane + plane * out if bottleneck else 9 * (wide + plane) * plane
            total += wide * out if block == 0 and (wide != out or stage) else 0
            wide = out
    assert count(on_meta(name, Bare(), 3, 32, 10)) == total + (2 + 10) * wide + 10


def test_parameters_of_lenet() -> None:
    """LeNet-5 as it is usually given (16 maps of 5×5 before the linear layers) has 61,706; ours keeps 7×7 of them."""
    convolutions, linear = 6 * 25 + 6 + 16 * 150 + 16, 120 * 84 + 84 + 84 * 10 + 10
    assert convolutions + (16 * 5 * 5 + 1) * 120 + linear == 61_706
    assert count(on_meta("lenet", Bare(), 1, 28, 10)) == convolutions + (16 * 7 * 7 + 1) * 120 + linear == 107_786


@pytest.mark.parametrize("side", [28, 32, 64])
def test_small_images_get_the_small_stem(side: int) -> None:
    model = on_meta("resnet18", Bare(), 3, side, 10)
    stem: Any = model.conv1
    assert (stem.kernel_size, stem.stride, stem.padding) == ((3, 3), (1, 1), (1, 1))
    assert isinstance(model.maxpool, nn.Identity)
    assert [m.stride for n, m in model.named_modules() if n.endswith(".0.conv1")] == [(1, 1), (2, 2), (2, 2), (2, 2)]


def test_a_low_network_loses_its_earliest_strides() -> None:
    """MobileNet v2 halves its images five times; of the four after the stem, the first goes at 32 pixels only."""
    strides = {}
    for side in (32, 64):
        model = on_meta("mobilenet_v2", Bare(), 3, side, 10)
        strides[side] = [n for n, m in model.named_modules() if isinstance(m, nn.Conv2d) and m.stride == (2, 2)]
    assert len(strides[64]) == 4
    assert strides[32] == strides[64][1:]


def test_large_images_meet_the_library_s_network() -> None:
    model = on_meta("resnet18", Bare(), 1, 224, 10)
    stem: Any = model.conv1
    assert (stem.in_channels, stem.kernel_size, stem.stride, stem.padding) == (1, (7, 7), (2, 2), (3, 3))
    assert isinstance(model.maxpool, nn.MaxPool2d)


def initial(name: str, spec: str, side: int = 8) -> dict[str, Tensor]:
    """Initial weights under seed 3 as the trainer draws them, without the activations' own."""
    seed_global_generators(torch.device("cpu"), derive(3, "construction"))
    factory, entry = ActivationFactory(spec), MODELS.item(name)
    model = entry.build(factory, 3, (side, side), 5)
    own = [call.module for call in factory.sites(model).values()]
    if not entry.own_init:
        init_he(model, own, generator(3, "initialisation"))
    skip = {id(t) for m in own for t in (*m.parameters(), *m.buffers())}
    return {n: t for n, t in model.state_dict(keep_vars=True).items() if id(t) not in skip}


@pytest.mark.parametrize("name", ["squeezenet", "shufflenet_v2_x0_5", "senet18", "timm:resnet10t"])
def test_equal_seeds_give_equal_weights_to_every_activation(name: str) -> None:
    first = initial(name, "relu")
    for spec in ("frelu", "sau:n=5"):
        other = initial(name, spec)
        assert other.keys() == first.keys()
        assert all(torch.equal(first[n], other[n]) for n in first)


def test_hes_rule_reaches_depthwise_convolutions() -> None:
    weights = initial("mobilenet_v1", "relu")
    depthwise = torch.cat(
        [w.flatten() for w in weights.values() if w.ndim == 4 and w.shape[1] == 1 and w.shape[2] == 3]
    )
    assert depthwise.std().item() == pytest.approx((2 / 9) ** 0.5, rel=0.02)


@pytest.mark.parametrize("name", ["resnet18", "squeezenet", "densenet121"])  # shared, single, and functional calls
def test_a_swapped_model_is_a_normal_module(name: str) -> None:
    factory = ActivationFactory("frelu")
    torch.manual_seed(0)
    model = MODELS.item(name).build(factory, 3, (8, 8), 5).eval()
    images = torch.randn(2, 3, 8, 8)
    expected = model(images)
    registered = {id(p) for p in model.parameters()}
    assert all(id(p) in registered for c in factory.calls for p in c.module.parameters())
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for call in factory.calls:
            call.module.negative.fill_(0.3)
    assert torch.equal(twin(images), expected)
    twin.load_state_dict(model.state_dict())
    assert torch.equal(twin(images), model(images))
    assert not torch.equal(twin(images), expected)
    model.train()(images).sum().backward()
    assert all(c.module.positive.grad is not None and c.module.negative.grad is not None for c in factory.calls)


@pytest.mark.compile
def test_a_swapped_model_compiles_whole() -> None:
    model = MODELS.item("resnet18").build(ActivationFactory("frelu"), 3, (8, 8), 5).eval()
    images = torch.randn(2, 3, 8, 8)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(images), model(images))
    torch._dynamo.reset()


def test_a_trial_runs_on_a_library_s_model() -> None:
    record = run.run_trial(trial("frelu", model="shufflenet_v2_x0_5", epochs=1, train_limit=50))
    assert len(record.sites) == 37
    assert record.activation_parameters == 2 * sum(site.channels for site in record.sites)
    assert record.parameters - record.activation_parameters == count(on_meta("shufflenet_v2_x0_5", Bare(), 1, 8, 10))
    assert any(site.before != site.after for site in record.sites)


def test_anything_else_of_the_libraries() -> None:
    for name in ("timm:resnet10t", "timm:repvgg_a0", "torchvision:regnet_y_400mf", "torchvision:googlenet"):
        model = MODELS.item(name).build(ActivationFactory("relu"), 1, (32, 32), 7)
        assert model(torch.zeros(2, 1, 32, 32)).shape == (2, 7)
        assert MODELS.item(name).own_init
    for name, library in (("timm:resnet10x", "timm"), ("torchvision:resnet19", "torchvision")):
        with pytest.raises(UnknownName, match=f"{library} has no .*did you mean"):
            MODELS.item(name)
    with pytest.raises(UnknownName, match="torchvision has no classifier 'fcn_resnet50'"):
        MODELS.item("torchvision:fcn_resnet50")


def test_transformers_keep_their_patches_and_weights() -> None:
    name = "timm:vit_tiny_patch16_224"
    torch.manual_seed(0)
    model = MODELS.item(name).build(ActivationFactory("relu"), 3, (32, 32), 7)
    assert model.patch_embed.proj.kernel_size == (16, 16)
    assert model.pos_embed.shape == (1, 5, 192)
    assert model.blocks[0].mlp.fc1.weight.std().item() == pytest.approx(0.02, rel=0.05), "not He's rule: 0.1"
    with pytest.raises(InvalidValue, match=r"torchvision's vit_b_16 cannot take 1×28×28 images: .*patch size"):
        on_meta("torchvision:vit_b_16", ActivationFactory("relu"), 1, 28, 7)


class Product(nn.Module):
    """Activates a product of two activations, of which nobody can say where its channels are."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.act = nn.Linear(4, 4), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layer(x)
        out: Tensor = self.act(y @ y.transpose(1, 2))
        return out


def test_a_unit_that_cannot_be_swapped_is_an_error() -> None:
    with pytest.raises(InvalidValue, match="'frelu' cannot take the place of ReLU at 'act': the channel axis is ambig"):
        ActivationFactory("frelu").swap(Product(), torch.zeros(2, 3, 4))
    factory = ActivationFactory("sau:num_parameters=1")
    assert list(factory.sites(factory.swap(Product(), torch.zeros(2, 3, 4)))) == ["act"]


class Reused(nn.Module):
    """Reads the input of an activation in place again."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.act = nn.Linear(4, 3), nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layer(x)
        out: Tensor = self.act(y) + y
        return out


def test_the_record_sees_the_activation_not_its_wrapper() -> None:
    factory = ActivationFactory("prelu")
    (call,) = factory.sites(factory.swap(Reused(), torch.zeros(2, 4))).values()
    assert isinstance(call.module, nn.PReLU)
    assert call.module.num_parameters == call.channels == 3
    assert describe(call).mean[0] == pytest.approx(-4 * 0.25)


def test_inspect_knows_the_lab_s_names() -> None:
    sites = inspect("squeezenet", to="frelu", shape="2x1x28x28")
    assert len(sites) == 26
    assert all(site.new == "frelu" for site in sites)
    with pytest.raises(InvalidValue, match="must be N×C×H×W, written as 1x3x32x32; got 2x3"):
        inspect("squeezenet", shape="2x3")
