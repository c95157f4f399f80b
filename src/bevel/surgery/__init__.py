"""Find every activation of a model, swap any of them for another, and put them back.

``find`` runs the model once on fake tensors, without memory or computation, and lists each call site: modules,
functions (``F.relu(x)``) and methods (``x.relu_()``), told apart call by call even where they share one object.
``swap`` replaces them in place: class, ``type(model)``, parameter names, mode, device, hooks, copying and pickling of
the model stay as they are. See :mod:`bevel.surgery._route` for how a replaced call finds its activation, and what that
costs.

What a swap cannot see: an activation written as a formula of other operations inside a forward (``x * x.sigmoid()``,
unless it is a module of its own); calls made outside any ``forward`` (a model's functions called one by one); code
that reaches the class past the instance (``torch.fx.symbolic_trace`` and ``torch.jit.script`` of a scope with replaced
functions); and checkpointing of a part of one forward in which a function was replaced: checkpoint whole modules.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import nn

from bevel.spec import Factory
from bevel.surgery._preserve import Maker
from bevel.surgery._sites import Site, Sites
from bevel.surgery._survey import survey
from bevel.surgery._swap import Edits, Result, Where, checked_what, decide, put_in


def find(model: nn.Module, *example: Any, **kwargs: Any) -> Sites:
    """Every activation call site of a model, in the order in which they run.

    The model is not changed and nothing of it runs: a copy with fake tensors does, in both modes, since some branches
    run in one only. A model that looks at a tensor's values (detection) is copied and run for real instead.

    Args:
        model: any module, not yet compiled or wrapped for several devices.
        *example, **kwargs: what the model takes; only shapes, types and devices matter.

    Raises:
        InvalidValue: for a wrapped model, or an example it cannot be run on.
    """
    return survey(model, example, kwargs).sites


def swap(
    model: nn.Module,
    to: str | Factory,
    *example: Any,
    where: Where = None,
    what: str | Iterable[str] | None = None,
    preserve: bool = True,
    **kwargs: Any,
) -> Result:
    """Give a model other activations, in place; each call site gets its own.

    Per-channel coefficients get their number and axis from the layer that feeds the site. With ``preserve`` the new
    activation starts as the old function (ReLU as FReLU(1, 0), a Leaky ReLU's or PReLU's slopes carried over, SAU with
    α = the old slope), so a trained model's output stays within ``site.bound`` at every site. A function the new
    activation cannot equal, such as GELU for SAU, is left alone with the reason in the table.

    Args:
        model: any module, not yet compiled or wrapped for several devices.
        to: spec string, class or function, as :func:`bevel.create` takes it.
        *example, **kwargs: what the model takes; only shapes, types and devices matter.
        where: which sites: a name, glob patterns, or a function of a :class:`Site`; default all.
        what: which functions, e.g. ``("relu", "gelu")``. Default: all units between layers; the gates (sigmoid, tanh,
            softmax, …) only if named here.
        preserve: False starts from the new activation's own initial values, as for training from scratch.

    Raises:
        InvalidValue: for a wrapped model, an example it cannot be run on, or a function named in ``what`` (or all of
            them) that ``to`` cannot preserve.
        UnknownName: for a function or activation that does not exist.
    """
    maker = Maker(to, preserve)
    found = survey(model, example, kwargs)
    made = decide(found, maker, where, checked_what(what, found))
    edits = Edits(model)
    try:
        put_in(model, found, made, edits)
    except BaseException:
        edits.undo()
        raise
    by_name = {spot.site.name: spot for group in found.groups for spot in group.spots if spot.site}
    spots = [by_name[site.name] for site in found.sites]
    activations = {s.site.name: made[id(s)] for s in spots if s.site and id(s) in made}
    return Result(model, Sites([s.site for s in spots if s.site], found.sites.notes), activations, edits)


__all__ = ["Result", "Site", "Sites", "find", "swap"]
