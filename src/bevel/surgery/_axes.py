"""Follow the channel axis of tensors through a run, from the layer that made them, operation by operation.

:class:`Channels` is a dispatch mode. A convolution puts its channels on axis 1, a product with a weight on the last (or
first) axis, a norm confirms it; elementwise operations, pooling and permutations carry the axis along; an operation
that merges, splits or drops it leaves a reason instead. Sizes alone decide nothing: a tensor may have as many tokens as
channels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils.weak import WeakTensorKeyDictionary

from bevel._torch_private import FakeTensor, TorchDispatchMode, storage_address, written_by


@dataclass(frozen=True)
class Label:
    """What is known of a tensor's channels.

    Attributes:
        axis: the channel axis, counted from the front; None if it is unknown.
        feeder: the name of the layer that made them.
        reason: why the axis is unknown.
        age: the number of the layer's run among all; where several tensors meet, the layer that ran last feeds.
    """

    axis: int | None
    feeder: str
    reason: str = ""
    age: int = field(default=0, compare=False)


WEIGHT = Label(None, "", "it is a weight")
CONSTANT = Label(None, "", "it is a buffer")
UNKNOWN = Label(None, "", "no layer that has channels feeds it")

_PRODUCTS = ("mm", "addmm", "bmm", "baddbmm")
_NORMS_1 = ("batch_norm", "group_norm")
_BATCH_NORM = torch.ops.aten.native_batch_norm.default
_NORMS_LAST = ("layer_norm", "rms_norm")
_REDUCTIONS = ("mean", "sum", "amax", "amin", "max", "min", "std", "var", "norm", "logsumexp", "prod", "any", "all")
_VIEWS = ("view", "reshape", "_unsafe_view", "_reshape_alias")
# They choose along one axis, their second argument, and leave the others: what graph networks do with nodes and edges.
_ALONG = (
    *("index_select", "index_add", "index_copy", "index_fill", "index_reduce"),
    *("gather", "scatter", "scatter_add", "scatter_reduce"),
)
# These operations keep the rank and still move or mix axes.
_MIXING = ("as_strided", "index", "gather", "scatter", "_fft", "linalg", "attention", "pixel_", "im2col", "col2im")
_MIXING_EXACT = ("unfold", "rot90", "repeat_interleave", "cumsum", "sort", "topk")
_RESIZING = ("slice", "split", "chunk", "cat", "narrow", "split_with_sizes")


class Channels(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Follow channel axes through the operations of a run.

    Args:
        running: returns the name of the module that runs now.
    """

    def __init__(self, running: Callable[[], str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._running = running
        self._labels = WeakTensorKeyDictionary()
        self._layers = 0
        self._watched: dict[int, tuple[StorageWeakRef, Callable[[], None]]] = {}
        self._outputs: dict[int, tuple[StorageWeakRef, Callable[[str], None]]] = {}

    def label(self, x: Tensor) -> Label:
        """Return what is known of a tensor's channels."""
        found: Label = self._labels.get(x, UNKNOWN)  # type: ignore[no-untyped-call]
        return found

    def set(self, x: Tensor, label: Label) -> None:
        self._labels[x] = label

    def on_next_use(self, x: Tensor, then: Callable[[], None]) -> None:
        """Call ``then`` if any operation reads x's memory from now on."""
        if x.layout == torch.strided:
            storage = StorageWeakRef(x.untyped_storage())  # type: ignore[no-untyped-call]
            self._watched[storage.cdata] = (storage, then)

    def used(self, x: Tensor) -> None:
        """Tell the channels that x is read."""
        if self._watched and x.layout == torch.strided:
            storage, then = self._watched.pop(storage_address(x), (None, None))
            if storage is not None and then is not None:
                then()

    def on_write(self, x: Tensor, then: Callable[[str], None]) -> None:
        """Call ``then`` with ``written`` when an operation writes to x's memory, or with ``returned``."""
        if x.layout == torch.strided:
            storage = StorageWeakRef(x.untyped_storage())  # type: ignore[no-untyped-call]
            self._outputs[storage.cdata] = (storage, then)

    def written(self, x: Tensor, how: str = "written") -> None:
        """Tell the channels that x is written to, or may be by whom it is returned to."""
        if self._outputs and x.layout == torch.strided:
            _, then = self._outputs.pop(storage_address(x), (None, None))
            if then is not None:
                then(how)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = _quick(func, args) or func(*args, **(kwargs or {}))
        tensors = _tensors((args, kwargs or {}))
        for x in tensors:
            self.used(x)
        if self._outputs:
            for x in _tensors(written_by(func, args, kwargs or {})):
                self.written(x)
        outputs = [t for t in (result if isinstance(result, tuple | list) else (result,)) if isinstance(t, Tensor)]
        if outputs and tensors:
            self._follow(func, args, kwargs or {}, tensors, outputs)
        return result

    def _follow(
        self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], tensors: list[Tensor], outputs: list[Tensor]
    ) -> None:
        name = func.name().split("::")[-1].split(".")[0].rstrip("_")
        if name == "index":  # where it looks says nothing of what it finds
            tensors = tensors[:1]
        labels = [self.label(t) for t in tensors]
        fixed = all(label in (WEIGHT, CONSTANT) for label in labels)  # reshaped weights; a layer run on a buffer
        layer = not fixed or len(set(labels)) == 2
        for index, out in enumerate(outputs):
            label = self._produced(name, args, labels, out) if index == 0 and layer else None
            if label is not None:
                self._layers += 1
                label = replace(label, age=self._layers)
            if label is None and fixed:
                label = WEIGHT if WEIGHT in labels else CONSTANT
            elif label is None:
                label = self._carried(func, name, args, kwargs, tensors, labels, out)
            self._labels[out] = label

    def _produced(self, name: str, args: tuple[Any, ...], labels: list[Label], out: Tensor) -> Label | None:
        """Label the output of a layer; None if the operation is no layer."""
        here = self._running()
        if "convolution" in name:
            return Label(1, here)
        if name in _PRODUCTS:
            return self._product(labels[-2:], out, here)
        if name == "_grouped_mm":  # of experts; where each one's rows end comes last
            return self._product(labels[:2], out, here)
        if any(n in name for n in _NORMS_1):
            return Label(1, here)
        if any(n in name for n in _NORMS_LAST):
            shape = next((a for a in args if isinstance(a, list | tuple)), [0])
            return Label(out.dim() - 1, here) if len(shape) == 1 else None
        if name in ("embedding", "embedding_bag"):
            return Label(out.dim() - 1, here)
        return None

    def _product(self, labels: list[Label], out: Tensor, here: str) -> Label:
        """Label a matrix product: the weight's other axis becomes the channels; without a weight they stay."""
        last = out.dim() - 1
        a, b = labels
        for weight in (WEIGHT, CONSTANT):
            if (a is weight) != (b is weight):
                return Label(last if b is weight else last - 1, here)
        rows, columns = a.axis == last - 1, b.axis == last
        if rows != columns:
            return Label(last, b.feeder) if columns else Label(last - 1, a.feeder)
        return Label(None, here, "it comes from a product of two activations")

    def _carried(
        self,
        func: Any,
        name: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        tensors: list[Tensor],
        labels: list[Label],
        out: Tensor,
    ) -> Label:
        """Label the output of an operation that is no layer."""
        pairs = [(t, label) for t, label in zip(tensors, labels, strict=True) if label not in (WEIGHT, CONSTANT)]
        told = [(t, label) for t, label in pairs if label.axis is not None]
        if not told:
            return pairs[0][1] if pairs else UNKNOWN
        x, label = told[0]
        axis = label.axis
        assert axis is not None
        if torch.Tag.pointwise in func.tags:
            return _aligned(told, out)
        moved = _moved(name, args, kwargs, x, axis, out)
        if moved is not None:
            return replace(moved, feeder=label.feeder, age=label.age)
        mixes = any(m in name for m in _MIXING) or name in _MIXING_EXACT
        if func.namespace == "aten" and not mixes and out.dim() == x.dim():
            if name == "cat":
                return _aligned(told, out)
            if out.shape[axis] == x.shape[axis] or name in _RESIZING:
                return label
        return replace(label, axis=None, reason=f"{name} does not keep the channel axis")


def _tensors(tree: Any) -> list[Tensor]:
    if isinstance(tree, Tensor):
        return [tree]
    if isinstance(tree, tuple | list):
        return [t for item in tree for t in _tensors(item)]
    return [t for item in tree.values() for t in _tensors(item)] if isinstance(tree, dict) else []


def _aligned(told: Sequence[tuple[Tensor, Label]], out: Tensor) -> Label:
    """Label the output of an elementwise operation, which aligns axes from the right; operands must agree."""
    axes = {label.axis + out.dim() - t.dim() for t, label in told if label.axis is not None}
    latest = max((label for _, label in told), key=lambda label: label.age)
    if len(axes) > 1:
        return replace(latest, axis=None, reason="its operands have their channels on different axes")
    return replace(latest, axis=axes.pop())


def _moved(name: str, args: tuple[Any, ...], kwargs: dict[str, Any], x: Tensor, axis: int, out: Tensor) -> Label | None:
    """Find where a permutation, view or reduction puts the axis; None if the operation is none of these."""
    rank = x.dim()
    if name == "t":
        return Label(rank - 1 - axis, "")
    if name == "transpose":
        a, b = args[1] % rank, args[2] % rank
        return Label({a: b, b: a}.get(axis, axis), "")
    if name == "permute":
        return Label([d % rank for d in args[1]].index(axis), "")
    if name in _VIEWS:
        return _viewed(x, axis, out)
    if name in ("squeeze", "unbind", "select") or name in _REDUCTIONS:
        return _reduced(name, args, kwargs, x, axis, out)
    if name in ("unsqueeze", "stack"):
        at = (args[1] if len(args) > 1 else kwargs.get("dim", 0)) % out.dim()
        return Label(axis + (at <= axis), "")
    if name == "expand":
        return Label(axis + out.dim() - rank, "")
    if name in _ALONG and rank:
        there = args[1] % rank != axis and out.shape[axis] == x.shape[axis]
        return Label(axis, "") if there else Label(None, "", f"{name} chose among the channels")
    return _indexed(args[1], rank, axis) if name == "index" else None


def _indexed(indices: Sequence[Tensor | None], rank: int, axis: int) -> Label:
    """Find the axis after ``x[indices]``: the axes of the indices stand where the first indexed one stood.

    They stand in front where indexed axes are apart.
    """
    given = [d for d, index in enumerate(indices) if index is not None]
    found = [index for index in indices if index is not None]
    if axis in given or any(index.dtype == torch.bool and index.dim() > 1 for index in found):
        return Label(None, "", "indexing chose among the channels")
    together = given == list(range(given[0], given[-1] + 1))
    kept = [d for d in range(rank) if d not in given]
    behind = axis > given[0] or not together
    return Label(kept.index(axis) + behind * max(index.dim() for index in found), "")


def _viewed(x: Tensor, axis: int, out: Tensor) -> Label:
    """Find the axis in a view: one of equal length with as many elements behind it."""
    behind = math.prod(x.shape[axis + 1 :])
    for j in (min(axis, out.dim() - 1), *range(out.dim() - 1, -1, -1)) if out.dim() else ():
        if out.shape[j] == x.shape[axis] and math.prod(out.shape[j + 1 :]) == behind:
            return Label(j, "")
    return Label(None, "", "a view merged or split the channel axis")


def _reduced(
    name: str, args: tuple[Any, ...], kwargs: dict[str, Any], x: Tensor, axis: int, out: Tensor
) -> Label | None:
    """Find the axis after a reduction over axes, or after an operation that removes one."""
    if out.dim() == x.dim():
        return Label(axis, "") if out.shape[axis] == x.shape[axis] else Label(None, "", f"{name} reduced the channels")
    dims = args[1] if len(args) > 1 else kwargs.get("dim", 0 if name == "unbind" else None)
    if name == "squeeze" and dims is None:
        dims = [d for d, size in enumerate(x.shape) if size == 1]
    if dims is None or x.dim() == 0:
        return Label(None, "", f"{name} reduced the channels")
    gone = {d % x.dim() for d in (dims if isinstance(dims, list | tuple) else [dims])}
    if axis in gone:
        return Label(None, "", f"{name} reduced the channels")
    return Label(axis - sum(d < axis for d in gone), "")


def _quick(func: Any, args: tuple[Any, ...]) -> tuple[Tensor, Tensor, Tensor] | None:
    """Give the outputs of a batch norm on fake tensors, which torch would work out by two dozen operations.

    That was half the time of a survey of ResNets and DenseNets. The statistics have no elements; nothing reads them.
    """
    if func is not _BATCH_NORM or not isinstance(args[0], FakeTensor):
        return None
    x, nothing = args[0], args[0].new_empty(0)
    return torch.empty_like(x), nothing, nothing
