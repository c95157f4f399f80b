"""Find, in one run of the model, the layer that feeds an activation and whether it feeds anything else."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from bevel._torch_private import TorchDispatchMode, forward_hooks, own_parameters, storage_address, tree_leaves
from bevel.deploy._model import Example, in_double, tensors
from bevel.surgery._calls import Mark
from bevel.surgery._install import Edits

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_FIRST_AXIS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm, nn.GroupNorm)
_LAST_AXIS = (nn.Linear, nn.LayerNorm, nn.RMSNorm)
LAYERS: tuple[type[nn.Module], ...] = (*_CONVOLUTIONS, *_TRANSPOSED, *_FIRST_AXIS, *_LAST_AXIS)
"""Layers whose weight and bias multiply their output: scaling both scales it."""

_WEIGHT_AT = {"batch_norm": 1, "group_norm": 1, "layer_norm": 2, "convolution": 1}
"""The operations by which subclasses of layers use their weight, and its place among their arguments.

timm's BatchNormAct2d normalizes, drops and activates in one forward: there the operation, not the module, feeds.
"""


@dataclass(frozen=True, eq=False)
class Feed:
    """What one run showed of an activation.

    Attributes:
        x: its input; None if it did not run.
        layer: the layer that it can be folded into, or None.
        name: the qualified name of the layer before it, "" if there is none.
        reason: why it cannot be folded, "" if it can.
    """

    x: Tensor | None
    layer: nn.Module | None
    name: str
    reason: str


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's own hook on subclassing
    """A dispatch mode that sees every operation on data, also inside fused calls; reading a shape is none."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.inside: list[nn.Module] = []  # layers and activations now running
        self.outputs: dict[int, tuple[nn.Module, Tensor]] = {}  # by storage; the tensor is kept, so no id is reused
        self.weights: dict[int, nn.Module] = {}
        self.foreign: dict[nn.Module, str] = {}  # layer -> what else uses its output or weight
        self.users: dict[nn.Module, set[nn.Module]] = {}
        self.producers: dict[int, str] = {}
        self.made: Counter[nn.Module] = Counter()  # subclasses of layers -> outputs of the operation with their weight
        self.read: Counter[nn.Module] = Counter()  # layers -> how often their parameters are read

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for t in tree_leaves((args, kwargs)):
            if isinstance(t, Tensor):
                self._use(_storage(t), str(func))
        result = func(*args, **(kwargs or {}))
        for t in tree_leaves(result):
            if isinstance(t, Tensor):
                self.producers[_storage(t)] = str(func)
        self._note_output(func.name(), args, result)
        return result

    def _note_output(self, operation: str, args: tuple[Any, ...], result: Any) -> None:
        """Note the output of the operation by which a subclass of a layer uses its weight, within its forward."""
        place = next((at for name, at in _WEIGHT_AT.items() if name in operation), None)
        weight = args[place] if place is not None and len(args) > place else None
        owner = self.weights.get(_storage(weight)) if isinstance(weight, Tensor) else None
        if owner is not None and owner in self.inside and type(owner) not in LAYERS:
            output = result[0] if isinstance(result, tuple | list) else result
            self.made[owner] += 1
            self.outputs[_storage(output)] = (owner, output)

    def _use(self, storage: int, what: str) -> None:
        owner = self.weights.get(storage)
        if owner is not None:
            self.read[owner] += 1
        if owner is not None and owner not in self.inside:
            self.foreign[owner] = f"its weight is also used by {what}"
        if storage in self.outputs:
            layer = self.outputs[storage][0]
            if self.inside:
                self.users.setdefault(layer, set()).add(self.inside[-1])
            else:
                self.foreign[layer] = f"its output is also used by {what}"


def _storage(t: Tensor) -> int:
    return storage_address(t) if t.layout is torch.strided else id(t)


def feeds(model: nn.Module, batch: Example, activations: Mapping[str, nn.Module]) -> dict[str, Feed]:
    """Run the model once in evaluation mode and find, for each activation, the layer that feeds it and only it."""
    names: dict[nn.Module, str] = {m: name for name, m in model.named_modules() if isinstance(m, LAYERS)}
    hooked = {
        m for m in (*names, *activations.values()) if any(not isinstance(hook, Mark) for hook in forward_hooks(m))
    }
    calls: Counter[nn.Module] = Counter()
    given: dict[nn.Module, Tensor] = {}
    fed_by: dict[nn.Module, nn.Module | str] = {}
    recorder = _Recorder()
    recorder.weights = {_storage(p): m for m in names for p in own_parameters(m)}

    def before(module: nn.Module, args: tuple[Any, ...]) -> None:
        if module not in names and args and isinstance(args[0], Tensor):
            x = args[0]
            layer, out = recorder.outputs.get(_storage(x), (None, x))
            same = (out.shape, out.stride(), out.storage_offset()) == (x.shape, x.stride(), x.storage_offset())
            made = recorder.producers.get(_storage(x), "the model's input")
            given[module], fed_by[module] = x, layer if layer is not None and same else made
        recorder.inside.append(module)
        calls[module] += 1

    def after(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        recorder.inside.pop()
        if module in names and isinstance(output, Tensor) and module not in recorder.made:
            recorder.outputs[_storage(output)] = (module, output)

    handles: list[Any] = []
    try:
        for m in {*names, *activations.values()}:
            handles += [m.register_forward_pre_hook(before), m.register_forward_hook(after)]
        with recorder:
            result = batch.run(model)
    finally:
        for handle in handles:
            handle.remove()
    for t in tensors(result):
        if _storage(t) in recorder.outputs:
            recorder.foreign[recorder.outputs[_storage(t)][0]] = "its output is also returned by the model"
    tied = _tied(model, names)
    found: dict[str, Feed] = {}
    for name, activation in activations.items():
        layer = fed_by.get(activation, "nothing")
        reason = _against(activation, layer, calls, hooked, tied, recorder)
        known = isinstance(layer, nn.Module)
        found[name] = Feed(
            given.get(activation),
            layer if isinstance(layer, nn.Module) and not reason else None,
            names[layer] if isinstance(layer, nn.Module) and known else "",
            reason,
        )
    return found


def _against(
    activation: nn.Module,
    layer: nn.Module | str,
    calls: Mapping[nn.Module, int],
    hooked: set[nn.Module],
    tied: set[nn.Module],
    recorder: _Recorder,
) -> str:
    """Say why the activation cannot be folded into the layer; "" if it can."""
    count = calls.get(activation, 0)
    if count != 1:
        return "the example does not run it" if count == 0 else f"it runs {count} times, so its slopes are shared"
    if isinstance(layer, str):
        return f"it is fed by {layer}, not straight by a layer with a weight"
    kind = type(layer).__name__
    if parametrize.is_parametrized(layer):
        return f"the {kind} before it is parametrized; remove that first (torch.nn.utils.parametrize)"
    once = recorder.made[layer] == 1 and recorder.read[layer] == len(list(own_parameters(layer)))
    if type(layer) not in LAYERS and not once:
        return f"the {kind} before it is a subclass whose forward may do more than its base"
    if calls[layer] != 1:
        return f"the {kind} before it runs {calls[layer]} times"
    if layer in tied:
        return f"the {kind} before it shares its weight with another layer"
    if layer in hooked or activation in hooked:
        return "a forward hook sits on it or on the layer before it"
    if layer in recorder.foreign:
        return f"the {kind} before it cannot be scaled: {recorder.foreign[layer]}"
    others = recorder.users.get(layer, set()) - {activation}
    if others:
        return f"the {kind} before it also feeds a {type(next(iter(others))).__name__}"
    if getattr(layer, "weight", None) is None:
        return f"the {kind} before it has no weight (affine is off)"
    return ""


def _tied(model: nn.Module, layers: Iterable[nn.Module]) -> set[nn.Module]:
    """Find the layers with a parameter that another module has too."""
    owners: dict[int, set[nn.Module]] = {}
    for m in model.modules():
        for p in own_parameters(m):
            owners.setdefault(_storage(p), set()).add(m)
    return {m for m in layers if any(len(owners[_storage(p)]) > 1 for p in own_parameters(m))}


def output_axis(layer: nn.Module, x: Tensor) -> int:
    """The axis of ``x``, the layer's output, along which its channels lie."""
    if isinstance(layer, (*_CONVOLUTIONS, *_TRANSPOSED)):
        return x.dim() - 1 - len(layer.kernel_size)  # 1, or 0 for an input without a batch
    return x.dim() - 1 if isinstance(layer, _LAST_AXIS) else 1


@torch.no_grad()
def scale(layer: nn.Module, factor: Tensor, edits: Edits) -> None:
    """Multiply the layer's output by ``factor`` (float64, one value or one per channel), with one rounding."""
    for p in own_parameters(layer):
        edits.when_undone(functools.partial(_put_back, p, p.detach().clone()))
    weight: Tensor = layer.weight  # type: ignore[assignment]
    wide = in_double(weight)
    factor = factor.to(wide.device)
    if isinstance(layer, _TRANSPOSED) and factor.numel() > 1:
        along = factor.reshape(layer.groups, 1, -1, *[1] * len(layer.kernel_size))
        grouped = wide.reshape(layer.groups, -1, *weight.shape[1:])
        weight.copy_((grouped * along).reshape(weight.shape))
    elif isinstance(layer, _TRANSPOSED):
        weight.copy_(wide * factor)
    else:
        weight.copy_(wide * factor.reshape(-1, *[1] * (weight.dim() - 1)))
    bias = getattr(layer, "bias", None)
    if bias is not None:
        bias.copy_(in_double(bias) * factor)


@torch.no_grad()
def _put_back(parameter: Tensor, values: Tensor) -> None:
    parameter.copy_(values)
