"""Find every activation of a model, swap any of them for another, and put them back.

:func:`find` runs a copy of the model once on fake tensors and lists each call site: modules, functions (``F.relu(x)``)
and methods (``x.relu_()``), told apart call by call even where they share one object. :func:`swap` replaces them:
class, ``type(model)``, parameter names, mode, device, hooks, copying and pickling of the model stay as they are.
:mod:`bevel.surgery._route` says how a replaced call finds its activation, and what that costs.

``x * torch.sigmoid(a * x)`` with a number a is one site where one forward writes it, but not in a ``torch.fx`` graph,
over two forwards, or written into x in place. On a path that the example did not take it keeps its meaning.

A swap does not see: an activation that is another formula inside a forward (unless it is a module of its own); calls
made outside any ``forward`` (a model's functions called one by one); code that reaches the class past the instance
(``torch.fx.symbolic_trace`` and ``torch.jit.script`` of a scope with replaced functions); and checkpointing of a part
of one forward in which a function was replaced: checkpoint whole modules.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Never

import torch
from torch import nn
from torch.optim import Optimizer

from bevel.spec import Factory
from bevel.surgery._arguments import Where, model_kwargs
from bevel.surgery._blueprint import draw
from bevel.surgery._copy import copy_model
from bevel.surgery._decide import checked_what, decide, refuse_empty
from bevel.surgery._install import Edits, install
from bevel.surgery._plan import Plan
from bevel.surgery._preserve import Maker
from bevel.surgery._result import Result
from bevel.surgery._sites import Site, Sites
from bevel.surgery._survey import refuse_wrapped, survey


@torch.inference_mode(False)  # under it torch shows other operations
def find(model: nn.Module, *example: Any, kwargs: Mapping[str, Any] | None = None, **unknown: Never) -> Sites:
    """List every activation call site of a model, in the order in which they run.

    The model is not changed and nothing of it runs: a copy with fake tensors does, in both modes, since some branches
    run in one only. If the model looks at a tensor's values (detection), the copy runs for real instead.

    Args:
        model: any module, not yet compiled or wrapped for several devices.
        *example: the model's positional arguments; only shapes, dtypes and devices matter.
        kwargs: the model's keyword arguments in one dictionary, as ``torch.export.export`` has it; default none.

    Returns:
        The sites: a sequence of :class:`Site` that prints as a table.

    Raises:
        InvalidValue: for a wrapped model, an example that it cannot be run on, or other keywords.

    Example:
        >>> import torch, bevel
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU())
        >>> (site,) = bevel.find(model, torch.zeros(1, 3, 8, 8))
        >>> site.name, site.function, site.feeder, site.channels, site.axis
        ('1', 'relu', '0', 8, 1)
    """
    return survey(model, example, model_kwargs(find, kwargs, unknown)).sites()


@torch.inference_mode(False)  # parameters made under it could never be trained
def swap(
    model: nn.Module,
    to: str | Factory,
    *example: Any,
    kwargs: Mapping[str, Any] | None = None,
    where: Where = None,
    what: str | Iterable[str] | None = None,
    preserve: bool = True,
    inplace: bool = True,
    empty_ok: bool = False,
    optimizer: Optimizer | None = None,
    save: str = "auto",
    **unknown: Never,
) -> Result:
    """Give a model other activations; each call site gets its own.

    Per-channel coefficients get their number and axis from the layer that feeds the site. With ``preserve`` the new
    activation starts as the old function (ReLU as FReLU(1, 0), a Leaky ReLU's or PReLU's slopes carried over, SAU with
    α = the old slope), so a trained model's output stays within ``site.bound`` at every site. A function that the new
    activation cannot equal, such as GELU for SAU, is left alone with the reason in the table.

    Args:
        model: any module, not yet compiled or wrapped for several devices.
        to: spec string, class or function, as :func:`bevel.create` takes it.
        *example: the model's positional arguments; only shapes, dtypes and devices matter.
        kwargs: the model's keyword arguments in one dictionary, as ``torch.export.export`` has it; default none.
        where: which sites: a name, glob patterns of names, or a function of a :class:`Site`; default all.
        what: which functions, e.g. ``("relu", "gelu")``; default all units between layers. Functions whose range
            matters (sigmoid, tanh, softmax, softplus, …) are swapped only if named here.
        preserve: whether to keep each site's function, default True; False starts from the new activation's own
            initial values, as for training from scratch.
        inplace: whether to change the given model, default True, since ``restore()`` takes a swap back; False changes
            a copy.
        empty_ok: whether a swap that changes nothing is allowed; default False, which raises.
        optimizer: one that trains the model already; the new parameters become a group of it, without weight decay.
            Default none: an optimizer that is made after the swap has them.
        save: what the new activations keep for backward (``bevel.nn.Activation``). Default ``auto``: the output where
            it tells the input. A site whose old activation kept its input, as GELU does, gets ``input`` where the model
            writes to its output in place and, under ``auto``, where it returns it.

    Returns:
        A :class:`Result`: the model, the sites, the new activations, and ``restore()``.

    Raises:
        InvalidValue: for a wrapped model, an example that it cannot be run on, other keywords, a function named in
            ``what`` (or all of them) that ``to`` cannot preserve, a ``where`` or ``save`` that does not fit, a ``to``
            that is no elementwise activation, or if nothing would change.
        UnknownName: for a function or activation that does not exist.

    Warns:
        UserWarning: if the example never calls some of the model's activation modules, or modules whose forward calls
            activation functions; they are then left as they are.

    Example:
        >>> import torch, bevel
        >>> model, x = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.ReLU()), torch.randn(2, 4)
        >>> before = model(x)
        >>> result = bevel.swap(model, "frelu", x)
        >>> model[1]
        FReLU(num_parameters=6, positive=1, negative=0, dim=-1)
        >>> torch.equal(model(x), before)
        True
        >>> result.restore()[1]
        ReLU()
    """
    arguments = model_kwargs(swap, kwargs, unknown)
    maker = Maker(to, preserve, save)
    refuse_wrapped(model)
    model = model if inplace else copy_model(model)
    found = survey(model, example, arguments)
    decide(model, found, maker, where, checked_what(what, found))
    if not empty_ok:
        refuse_empty(found)
    blueprint = draw(model, found)
    edits = Edits(model)
    result = Result(model, found.sites(), tuple(found.unreached), maker.to, blueprint, found.recipes, edits)
    _install(result, edits, optimizer)
    if result.unreached:
        warnings.warn(result.unreached_text, stacklevel=3)  # past the decorator
    return result


def _install(result: Result, edits: Edits, optimizer: Optimizer | None) -> None:
    """Put the activations of a result into its model, or leave the model as it was."""
    try:
        install(result.model, result._blueprint, result.activations, edits)
        if optimizer is not None:
            result.add_to(optimizer)
    except BaseException:
        result.restore()
        raise


@torch.inference_mode(False)
def apply_plan(model: nn.Module, plan: str | Mapping[str, Any], *, optimizer: Optimizer | None = None) -> Result:
    """Do a swap again to a new model of the same kind, without an example.

    This is how a swapped model is loaded: build the model as it was before the swap, apply the plan, load the weights.

    Args:
        model: any module, changed in place.
        plan: what ``result.plan()`` returned, or the dictionary that ``json.loads`` makes of it.
        optimizer: as in :func:`swap`; default none.

    Returns:
        A :class:`Result`, as :func:`swap` returns it; its sites are those of the plan.

    Raises:
        InvalidValue: for something that is no plan, a plan of another version, or a model that differs from the one
            that the plan was made of, with the site named.
        UnknownName: for a plan whose activation is not registered here.

    Example:
        >>> import torch, bevel
        >>> def build():
        ...     return torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.ReLU())
        >>> model = build()
        >>> plan = bevel.swap(model, "frelu", torch.randn(2, 4)).plan()
        >>> again = bevel.surgery.apply_plan(build(), plan).model
        >>> again.load_state_dict(model.state_dict())
        <All keys matched successfully>
    """
    read = Plan(plan)
    refuse_wrapped(model)
    read.check(model)
    made = read.activations(model)
    sites = Sites([replace(site, module=made[site.name]) for site in read.sites])
    edits = Edits(model)
    result = Result(model, sites, (), read.to, read.blueprint, read.recipes, edits)
    _install(result, edits, optimizer)
    return result


__all__ = ["Result", "Site", "Sites", "Where", "apply_plan", "find", "swap"]
