"""Run a copy of a model once, on fake tensors or real ones, and watch it."""

from __future__ import annotations

import contextlib
import copy
import logging
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from bevel._torch_private import (
    FAKE_TENSOR_LOG,
    FakeCopyMode,
    FakeTensor,
    FakeTensorMode,
    drop_later_hooks,
    submodules,
    tree_leaves,
    tree_map,
)
from bevel.surgery._calls import Mark
from bevel.surgery._copy import copy_model
from bevel.surgery._probe import Source
from bevel.surgery._random import RandomState
from bevel.surgery._watch import Trace, Watch


def double(model: nn.Module, sources: Mapping[str, Source], fake: FakeTensorMode | None, hooks: bool) -> nn.Module:
    """Copy a model in order to run it; each name gets an activation of its own.

    Args:
        model: the model.
        sources: its activation modules by qualified name.
        fake: the mode of the fake tensors of the copy; None for real ones.
        hooks: whether the copy keeps the hooks after a forward. They may reach what is not copied (a list that
            collects features), so they run only in a model that cannot do without.
    """
    with FakeCopyMode(fake) if fake else contextlib.nullcontext(), fake or contextlib.nullcontext():
        tensors = (*model.parameters(), *model.buffers()) if fake else ()
        twin = copy_model(model, {id(t): _fake(t, fake) for t in tensors})
        others = {id(m): m for m in twin.modules()}  # what a hook may refer to; only the activation itself is copied
        taken: set[int] = set()
        for path in sources:
            parent, _, name = path.rpartition(".")
            owner = twin.get_submodule(parent)
            activation = owner.get_submodule(name)
            if id(activation) in taken:
                memo = {key: m for key, m in others.items() if m is not activation}
                submodules(owner)[name] = copy.deepcopy(activation, memo)
            taken.add(id(activation))
    for module in twin.modules():  # hooks before a forward may make its weights: they always stay
        drop_later_hooks(module, keep=lambda hook: hooks or isinstance(hook, Mark))
    return twin


def run(
    twin: nn.Module,
    example: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    sources: Mapping[str, Source],
    weights: Mapping[str, Tensor],
    fake: FakeTensorMode | None,
) -> Trace:
    """Run a copy once and record its activation calls.

    Args:
        twin: from :func:`double`.
        example, kwargs: what the model takes.
        sources: activation modules by qualified name.
        weights: the original's parameters by qualified name.
        fake: the mode of the fake tensors, None for a real run.
    """
    trace = Trace(twin.training)
    watch = Watch(twin, trace, sources, weights)
    with _untouched(), fake or contextlib.nullcontext():
        inputs = tree_map(lambda t: _fake(t, fake), (example, dict(kwargs))) if fake else (example, dict(kwargs))
        with watch.channels, watch, torch.no_grad(), watch.hooked():
            output = twin(*inputs[0], **inputs[1])
        for leaf in tree_leaves(output):
            if isinstance(leaf, Tensor):
                watch.channels.used(leaf)
                watch.channels.written(leaf, "returned")
    return trace


def _fake(leaf: Any, mode: FakeTensorMode | None) -> Any:
    return mode.from_tensor(leaf) if mode and isinstance(leaf, Tensor) and not isinstance(leaf, FakeTensor) else leaf


@contextlib.contextmanager
def _untouched() -> Iterator[None]:
    """Keep random states, silence the model's own warnings, and turn off fused paths, which hide activations."""
    fast = torch.backends.mha.get_fastpath_enabled()
    log = logging.getLogger(FAKE_TENSOR_LOG)  # a failed run is told of once, by us
    silent, log.disabled = log.disabled, True
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with RandomState().drawn_from(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        log.disabled = silent
