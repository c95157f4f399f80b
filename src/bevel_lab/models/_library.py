"""Models of torchvision and timm as the lab's: fitted to small images, with the trial's activation at their call sites.

Networks for 224×224 images throw away most of a 32×32 one before their first block. The usual remedy on CIFAR is the
same for all of them and is made here once, on the finished model (see :func:`fit`), so that a model's file says only
where it comes from. Large images meet the library's network as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from bevel.errors import InvalidValue, did_you_mean
from bevel_lab.models import Activation, Model

SMALL = 64
"""The largest side in pixels, of the shorter two, that gets the small-image stem."""

LEAST = 4
"""The least side of the last feature map, in pixels; 4 is what a ResNet has left of 32 on CIFAR."""

Make = Callable[[int, tuple[int, int], int], nn.Module]
"""Makes a library's network of (input channels, image size, classes); torchvision's always have three channels."""


def library(summary: str, make: Make, *, least: int = LEAST, min_size: int = 8) -> Model:
    """An entry of the registry for a network that a library builds.

    Args:
        summary: one line for ``bevel list``.
        make: makes the network; imports its library itself, so that listing the registry imports none.
        least: least side of the last feature map, in pixels.
        min_size: least height and width of its images, in pixels.
    """

    def build(activation: Activation, in_channels: int, image_size: tuple[int, int], classes: int) -> nn.Module:
        model = make(in_channels, image_size, classes)
        fit(model, in_channels, image_size, least)
        return _swapped(model, activation, in_channels, image_size)

    return Model(summary, build, min_size=min_size)


def from_torchvision(summary: str, name: str, *, min_size: int = 8, **options: Any) -> Model:
    """An entry for ``torchvision.models.NAME``, built with ``options``."""

    def make(in_channels: int, size: tuple[int, int], classes: int) -> nn.Module:
        import torchvision

        model: nn.Module = torchvision.models.get_model(name, weights=None, num_classes=classes, **options)
        return model

    return library(summary, make, min_size=min_size)


def from_timm(summary: str, name: str, *, min_size: int = 8, **options: Any) -> Model:
    """An entry for timm's model NAME, built with ``options``."""

    def make(in_channels: int, size: tuple[int, int], classes: int) -> nn.Module:
        import timm

        model: nn.Module = timm.create_model(name, in_chans=in_channels, num_classes=classes, **options)
        return model

    return library(summary, make, min_size=min_size)


def opened(summary: str, make: Make) -> Model:
    """An entry for a network nobody here has seen: fitted if it lets itself be, with its own initial weights.

    Transformers tie their positions to the size of their patches, so that another stem breaks them; what breaks is
    taken as the library builds it.
    """

    def build(activation: Activation, in_channels: int, image_size: tuple[int, int], classes: int) -> nn.Module:
        images = (2, in_channels, *image_size)
        try:
            model = make(in_channels, image_size, classes)
            try:
                fit(model, in_channels, image_size)
            except InvalidValue:
                model = make(in_channels, image_size, classes)
                _take(model, in_channels)
            found = shape_of(model, images)
        except Exception as error:  # whatever a library raises
            raise InvalidValue(f"{summary} cannot take {_written(images[1:])} images: {_said(error)}.") from error
        if found != (2, classes):
            raise InvalidValue(
                f"a classifier gives 2×{classes} logits for 2 images; {summary} gives {_written(found)}."
            )
        return _swapped(model, activation, in_channels, image_size)

    return Model(summary, build, own_init=True)


def first_that_builds(
    create: Callable[..., nn.Module], name: str, extra: dict[str, Any], options: dict[str, Any]
) -> nn.Module:
    """``create(name)`` with the options and, where it accepts them, the extra ones."""
    try:
        return create(name, **extra, **options)
    except TypeError:
        return create(name, **options)


def near(name: str, known: list[str]) -> str:
    """The nearest names; the whole list would fill the screen."""
    text = did_you_mean(name, known)
    return text if text.startswith("did") else f"there are {len(known)}"


def fit(model: nn.Module, in_channels: int, image_size: tuple[int, int], least: int = LEAST) -> None:
    """Change a network for 3×224×224 images, in place, into one for images of another shape.

    1. The first convolution takes ``in_channels``.
    2. On images of at most 64 pixels a first convolution with a stride becomes 3×3 with stride 1, and pooling that
       comes next goes: the stem of ResNets on CIFAR.
    3. The earliest strides and pools left go, one resolution at a time, until the last feature map has ``least``
       pixels a side.

    What is changed starts from torch's own initial values, drawn from the global generator.

    Raises:
        InvalidValue: if the network has no convolution, or still cannot take the images.
    """
    first = _first(model)
    if max(_pair(first.stride)) > 1 and min(image_size) <= SMALL:
        _remake(first, in_channels, 3)
        levels, _ = _run(model, in_channels, image_size)
        if levels and all(isinstance(step.module, _POOLS) for step in levels[0]):
            _drop(model, levels[0])
    else:
        _take(model, in_channels)
    while True:
        levels, error = _run(model, in_channels, image_size)
        if error is None and (not levels or levels[-1][-1].after >= least):
            return
        if levels:
            _drop(model, levels[0])
        elif error is not None:
            raise InvalidValue(f"the model cannot be fitted to {_written((in_channels, *image_size))} images: {error}.")


_POOLS = (nn.MaxPool2d, nn.AvgPool2d)


@dataclass(frozen=True)
class _Step:
    """One run of a layer with a stride: its name, and the shorter side of its input and output in pixels."""

    name: str
    module: nn.Module
    before: int
    after: int


def _run(model: nn.Module, in_channels: int, image_size: tuple[int, int]) -> tuple[list[list[_Step]], str | None]:
    """The strided layers in their order, those that halve the same map together; and why the run failed, if it did."""
    levels: list[list[_Step]] = []

    def hook(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def note(module: nn.Module, inputs: Any, output: Any) -> None:
            step = _Step(name, module, min(inputs[0].shape[-2:]), min(output.shape[-2:]))
            if levels and levels[-1][0].before == step.before:
                levels[-1].append(step)
            else:
                levels.append([step])

        return note

    strided = [(n, m) for n, m in model.named_modules() if _strided(m)]
    handles = [module.register_forward_hook(hook(name)) for name, module in strided]
    was = model.training
    model.eval()
    try:
        shape_of(model, (2, in_channels, *image_size))
    except Exception as error:  # whatever a library's forward raises where the map is too small
        return levels, _said(error)
    finally:
        model.train(was)
        for handle in handles:
            handle.remove()
    return levels, None


def _strided(module: nn.Module) -> bool:
    return isinstance(module, (nn.Conv2d, *_POOLS)) and max(_pair(module.stride)) > 1


def _drop(model: nn.Module, level: list[_Step]) -> None:
    for step in level:
        if isinstance(step.module, nn.Conv2d):
            step.module.stride = (1, 1)
        else:
            model.set_submodule(step.name, nn.Identity())


def _first(model: nn.Module) -> nn.Conv2d:
    found = next((m for m in model.modules() if isinstance(m, nn.Conv2d)), None)
    if found is None:
        raise InvalidValue("the model's first convolution takes the image's channels; this model has none.")
    return found


def _take(model: nn.Module, in_channels: int) -> None:
    first = _first(model)
    if first.in_channels != in_channels:
        _remake(first, in_channels)


def _remake(convolution: nn.Conv2d, in_channels: int, kernel: int | None = None) -> None:
    """Another number of inputs, and with ``kernel`` stride 1 and a padding that keeps the size.

    In place, since libraries derive classes from ``nn.Conv2d`` whose other properties are to stay.
    """
    convolution.in_channels = in_channels
    if kernel is not None:
        convolution.kernel_size, convolution.stride = (kernel, kernel), (1, 1)
        convolution.padding = (kernel // 2, kernel // 2)
    shape = (convolution.out_channels, in_channels // convolution.groups, *convolution.kernel_size)
    convolution.weight = nn.Parameter(convolution.weight.new_empty(shape))
    convolution.reset_parameters()


def _pair(value: Any) -> tuple[int, ...]:
    return (value,) if isinstance(value, int) else tuple(value)


def _written(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))


def _said(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__


def _swapped(model: nn.Module, activation: Activation, in_channels: int, image_size: tuple[int, int]) -> nn.Module:
    device = next(model.parameters()).device
    return activation.swap(model, torch.zeros(2, in_channels, *image_size, device=device))


def shape_of(model: nn.Module, images: tuple[int, ...]) -> torch.Size:
    """The shape of what the model makes of a batch of images, found on the meta device: no memory, no arithmetic.

    Raises:
        Exception: whatever the model's forward raises, or TypeError if its result is no tensor.
    """
    tensors = {name: t.to("meta") for name, t in (*model.named_parameters(), *model.named_buffers())}
    with torch.no_grad():
        result = functional_call(model, tensors, torch.empty(images, device="meta"))
    if not isinstance(result, Tensor):
        raise TypeError(f"its result is of type {type(result).__name__}, not one tensor of logits")
    return result.shape
