"""The models written by hand: each fits its images, and asks for its activations properly."""

import pytest
import torch
from torch import nn

from bevel_lab.models import MODELS, Model, _library
from bevel_lab.runtime.rng import generator
from bevel_lab.tasks import init_he
from bevel_lab.training.activations import ActivationFactory

CLASSIFIERS = [
    name
    for name, model in MODELS.items()
    if isinstance(model, Model) and model.task == "classification" and model.build.__module__ != _library.__name__
]


@pytest.mark.parametrize("name", CLASSIFIERS)
@pytest.mark.parametrize(("channels", "size"), [(1, (8, 8)), (1, (28, 28)), (3, (32, 40))])
def test_each_activation_is_asked_for_and_used_once(name: str, channels: int, size: tuple[int, int]) -> None:
    factory = ActivationFactory("prelu")
    model = MODELS.item(name).build(factory, channels, size, 7)
    sites = factory.sites(model)
    used: list[str] = []
    for site, call in sites.items():
        call.module.register_forward_hook(lambda module, inputs, out, site=site: used.append(site))
    assert model(torch.randn(2, channels, *size)).shape == (2, 7)
    assert used == list(sites), "one use a site, in the order in which they were asked for"
    for call in sites.values():
        assert call.module.weight.numel() == call.channels


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_the_smallest_images_fit(name: str) -> None:
    side = MODELS.item(name).min_size
    assert MODELS.item(name).build(ActivationFactory("relu"), 1, (side, side), 3)(
        torch.randn(2, 1, side, side)
    ).shape == (2, 3)


def test_resnet20_is_the_papers() -> None:
    model = MODELS.item("resnet20").build(ActivationFactory("relu"), 3, (32, 32), 10)
    assert sum(p.numel() for p in model.parameters()) == 269_722  # as counted by others, e.g. Idelbayev's table
    assert sum(isinstance(m, nn.Conv2d) for m in model.modules()) == 19


def test_he_leaves_activations_alone_and_sets_the_spread() -> None:
    factory = ActivationFactory("prelu:init=0.15")
    model = MODELS.item("mlp").build(factory, 3, (32, 32), 10)
    init_he(model, [call.module for call in factory.sites(model).values()], generator(0, "initialisation"))
    first = model[1]
    assert first.weight.std().item() == pytest.approx((2 / 3072) ** 0.5, rel=0.01)
    assert not first.bias.any()
    assert all((call.module.weight == 0.15).all() for call in factory.calls)


def test_a_model_must_keep_what_it_asks_for() -> None:
    from bevel.errors import InvalidValue

    for build in (lambda activation: nn.Linear(2, 2), lambda activation: (activation(3), nn.Linear(2, 2))[1]):
        factory = ActivationFactory("relu")
        with pytest.raises(InvalidValue, match="one activation per call site"):
            factory.sites(build(factory))
