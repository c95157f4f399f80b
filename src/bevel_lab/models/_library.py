"""Models of torchvision and timm as registry entries: fitted to small images, with the trial's activation.

A network for 224×224 images throws away most of a 32×32 image before its first block. The usual remedy on CIFAR is the
same for all networks: :func:`fit` applies it to the finished model, so that a model's file only says where it comes
from. Large images use the library's network unchanged.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from itertools import groupby
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

from bevel.errors import InvalidValue, did_you_mean
from bevel_lab.models import Activation, Model

SMALL = 64
"""Images whose shorter side has at most so many pixels get the small-image stem."""

LEAST = 4
"""Least side of the last feature map in pixels; 4 is what a ResNet has on CIFAR's 32×32."""

Make = Callable[[int, tuple[int, int], int], Any]
"""(input channels, image size, classes) → a library's network; torchvision's always take three channels."""


def library(summary: str, make: Make, *, least: int = LEAST, min_size: int = 8) -> Model:
    """The registry entry of a network that a library builds.

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
    """The registry entry of ``torchvision.models.NAME``, built with ``options``."""

    def make(in_channels: int, size: tuple[int, int], classes: int) -> Any:
        import torchvision

        return torchvision.models.get_model(name, weights=None, num_classes=classes, **options)

    return library(summary, make, min_size=min_size)


def from_timm(summary: str, name: str, *, min_size: int = 8, **options: Any) -> Model:
    """The registry entry of timm's model NAME, built with ``options``."""

    def make(in_channels: int, size: tuple[int, int], classes: int) -> Any:
        import timm

        return timm.create_model(name, in_chans=in_channels, num_classes=classes, **options)

    return library(summary, make, min_size=min_size)


def any_model(
    summary: str,
    create: Callable[[int, int], Callable[..., Any]],
    size_option: Callable[[tuple[int, int]], dict[str, Any]],
) -> Model:
    """The registry entry of a network that nobody here has tried, with its own initial weights.

    The network is fitted to small images if that works. A vision transformer ties its positions to the size of its
    patches, so another stem breaks it; then the library's network is used unchanged.

    Args:
        summary: one line for ``bevel list`` and for messages.
        create: (input channels, classes) → a function that makes the network.
        size_option: image size → further arguments of that function; not passed if it refuses them.
    """

    def make(in_channels: int, image_size: tuple[int, int], classes: int) -> Any:
        network = create(in_channels, classes)
        try:
            return network(**size_option(image_size))
        except TypeError:
            return network()

    def build(activation: Activation, in_channels: int, image_size: tuple[int, int], classes: int) -> nn.Module:
        images = (2, in_channels, *image_size)
        try:
            model = make(in_channels, image_size, classes)
            try:
                fit(model, in_channels, image_size)
            except InvalidValue:
                model = make(in_channels, image_size, classes)
                _set_channels(model, in_channels)
            found = shape_of(model, images)
        except Exception as error:  # a library may raise anything
            raise InvalidValue(f"{summary} cannot take {_by(images[1:])} images: {_first_line(error)}.") from error
        if found != (2, classes):
            raise InvalidValue(f"a classifier must give 2×{classes} logits for 2 images; {summary} gives {_by(found)}.")
        return _swapped(model, activation, in_channels, image_size)

    return Model(summary, build, own_init=True)


def near(name: str, known: list[str]) -> str:
    """The nearest known names, or their number: the whole list would fill the screen."""
    text = did_you_mean(name, known)
    return text if text.startswith("did") else f"there are {len(known)}"


def fit(model: nn.Module, in_channels: int, image_size: tuple[int, int], least: int = LEAST) -> None:
    """Change a network for 3×224×224 images, in place, into one for images of another shape.

    1. Its first convolution takes ``in_channels``.
    2. For images of at most 64 pixels a first convolution with a stride becomes 3×3 with stride 1, and pooling right
       after it is removed: the stem of ResNets on CIFAR.
    3. The earliest remaining strides and pools are removed, one resolution at a time, until the last feature map has
       ``least`` pixels a side.

    Changed layers start from torch's own initial values, drawn from the global generator.

    Args:
        model: changed in place.
        in_channels: channels of the images.
        image_size: (height, width) of the images.
        least: least side of the last feature map, in pixels.

    Raises:
        InvalidValue: if the network has no convolution, or cannot take the images after all.

    Example:
        >>> from torchvision.models import resnet18
        >>> model = resnet18(num_classes=10)
        >>> fit(model, 1, (28, 28))
        >>> model.conv1, model.maxpool
        (Conv2d(1, 64, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), bias=False), Identity())
    """
    first = _first(model)
    if max(_pair(first.stride)) > 1 and min(image_size) <= SMALL:
        _remake(first, in_channels, 3)
        levels, _ = _trace(model, in_channels, image_size)
        if levels and all(isinstance(step.module, _POOLS) for step in levels[0]):
            _drop(model, levels[0])
    else:
        _set_channels(model, in_channels)
    while True:
        levels, error = _trace(model, in_channels, image_size)
        if error is None and (not levels or levels[-1][-1].after >= least):
            return
        if levels:
            _drop(model, levels[0])
        elif error is not None:
            raise InvalidValue(f"the model cannot be fitted to {_by((in_channels, *image_size))} images: {error}.")


_POOLS = (nn.MaxPool2d, nn.AvgPool2d)


class _Step(NamedTuple):
    """One call of a layer with a stride: its name, and the shorter side of its input and output in pixels."""

    name: str
    module: nn.Module
    before: int
    after: int


def _trace(model: nn.Module, in_channels: int, image_size: tuple[int, int]) -> tuple[list[list[_Step]], str | None]:
    """Run the model on the meta device.

    Returns:
        The layers with a stride in the order of their calls, grouped by the map that they halve, and the error message
        if the model failed.
    """
    steps: list[_Step] = []

    def note(name: str, module: nn.Module, inputs: Any, output: Any) -> None:
        steps.append(_Step(name, module, min(inputs[0].shape[-2:]), min(output.shape[-2:])))

    strided = [(n, m) for n, m in model.named_modules() if _strided(m)]
    handles = [module.register_forward_hook(partial(note, name)) for name, module in strided]
    was, message = model.training, None
    model.eval()
    try:
        shape_of(model, (2, in_channels, *image_size))
    except Exception as error:  # a forward pass may raise anything where the map is too small
        message = _first_line(error)
    finally:
        model.train(was)
        for handle in handles:
            handle.remove()
    return [list(level) for _, level in groupby(steps, lambda step: step.before)], message


def _strided(module: nn.Module) -> bool:
    return isinstance(module, (nn.Conv2d, *_POOLS)) and max(_pair(module.stride)) > 1


def _drop(model: nn.Module, level: list[_Step]) -> None:
    for step in level:
        if isinstance(step.module, nn.Conv2d):
            step.module.stride = (1, 1)
        else:
            model.set_submodule(step.name, nn.Identity())


def _first(model: nn.Module) -> nn.Conv2d:
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            return module
    raise InvalidValue("the model's first convolution takes the image's channels; this model has none.")


def _set_channels(model: nn.Module, in_channels: int) -> None:
    first = _first(model)
    if first.in_channels != in_channels:
        _remake(first, in_channels)


def _remake(convolution: nn.Conv2d, in_channels: int, kernel: int | None = None) -> None:
    """Change the number of inputs and, with ``kernel``, the kernel size, stride 1 and a padding that keeps the size.

    It works in place because libraries derive classes from ``nn.Conv2d`` whose other properties must stay.
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


def _by(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__


def _swapped(model: nn.Module, activation: Activation, in_channels: int, image_size: tuple[int, int]) -> nn.Module:
    device = next(model.parameters()).device
    return activation.swap(model, torch.zeros(2, in_channels, *image_size, device=device))


def shape_of(model: nn.Module, images: tuple[int, ...]) -> torch.Size:
    """The shape of the model's result for a batch of images, found on the meta device without memory or arithmetic.

    Args:
        model: on any device.
        images: shape of the batch, (B, C, H, W).

    Raises:
        Exception: whatever the model's forward raises, or ``TypeError`` if its result is not a tensor.
    """
    tensors = {name: t.to("meta") for name, t in (*model.named_parameters(), *model.named_buffers())}
    with torch.no_grad(), _norms_passed_over(model):
        result = functional_call(model, tensors, torch.empty(images, device="meta"))
    if not isinstance(result, Tensor):
        raise TypeError(f"its result is of type {type(result).__name__}, not one tensor of logits")
    return result.shape


@contextlib.contextmanager
def _norms_passed_over(model: nn.Module) -> Iterator[None]:
    """Let batch norms return their input within: on the meta device torch works each out by two dozen operations.

    A norm keeps the shape; DenseNet-121 takes a third of the time without.
    """
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]

    def same(norm: Any, x: Tensor) -> Tensor:
        if x.shape[1] != norm.num_features:
            raise ValueError(f"a batch norm of {norm.num_features} channels got {x.shape[1]}")
        return x

    for norm in norms:
        norm.__dict__["forward"] = partial(same, norm)
    try:
        yield
    finally:
        for norm in norms:
            del norm.__dict__["forward"]
