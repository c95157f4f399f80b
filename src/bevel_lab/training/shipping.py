"""What takes the place of a trial's activations before it is tested: their kinked functions, or another activation."""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import nn

import bevel
from bevel.deploy._model import replace
from bevel.errors import InvalidValue
from bevel.surgery._install import Edits
from bevel_lab.experiment.trial import Trial
from bevel_lab.training.activations import CallSite

FINE_TUNING = 0.1
"""Where the learning rate after a replacement starts, as a multiple of the trial's; half a cosine leads it to 0."""
ANY = 1e6
"""The tolerance of hardening: whatever its bound is, what is shipped is tested."""


def fine_tuning_epochs(trial: Trial) -> int:
    """How many of the epochs are trained after the replacement; at least one where the trial asks for a share.

    Example:
        >>> [fine_tuning_epochs(Trial(activation="silu", ship=ship, epochs=10)) for ship in ("relu", "relu:0.25")]
        [0, 2]
    """
    share = float(trial.ship.partition(":")[2] or 0)
    return max(1, round(share * trial.epochs)) if share else 0


def fine_tuning_factor(step: int, steps: int) -> float:
    """The factor of the learning rate at ``step`` of ``steps`` after a replacement.

    Example:
        >>> [round(fine_tuning_factor(step, 4), 3) for step in range(4)]
        [0.1, 0.085, 0.05, 0.015]
    """
    return FINE_TUNING * 0.5 * (1 + math.cos(math.pi * step / steps))


def check(trial: Trial, sites: Mapping[str, CallSite]) -> None:
    """Refuse what cannot be shipped, before anything is trained.

    Raises:
        InvalidValue: for an activation with parameters, which nothing would have trained, an activation without a
            kinked function at a proven distance, several processes, or a share that leaves no epoch before it.
    """
    if not trial.ship:
        return
    if trial.processes > 1:
        raise InvalidValue(f"ship must be empty for a trial of {trial.processes} processes; got {trial.ship!r}.")
    if trial.ship == "harden":
        for name, call in sites.items():
            _check_hardens(trial.activation, name, call.module)
        return
    tuned = fine_tuning_epochs(trial)
    if tuned >= trial.epochs:
        raise InvalidValue(
            f"ship must leave an epoch before the replacement; got {trial.ship!r}, which takes {tuned} of "
            f"{trial.epochs}."
        )
    name = trial.ship.partition(":")[0]
    if list(bevel.create(name).parameters()):
        raise InvalidValue(f"ship must name an activation without parameters, such as relu; got {name!r}.")


def _check_hardens(activation: str, name: str, module: nn.Module) -> None:
    if not isinstance(module, bevel.nn.Activation):
        raise InvalidValue(
            f"ship='harden' must go with an activation of bevel's family, such as gate; got {activation!r}."
        )
    kept = [row.reason for row in bevel.harden(nn.Sequential(module), ANY).rows if not row.new]
    if kept:
        raise InvalidValue(f"ship='harden' must reach every site; {activation!r} would stay at {name!r}: {kept[0]}.")


def put_in(model: nn.Module, trial: Trial, sites: Mapping[str, CallSite]) -> tuple[dict[str, CallSite], str]:
    """Put what is shipped into a model, in place.

    Args:
        model: the trained network, or a copy.
        trial: says what is shipped.
        sites: the call sites by qualified module name.

    Returns:
        The call sites with their new modules, and what was done in words.
    """
    named = dict(model.named_modules())
    if trial.ship == "harden":
        rows = bevel.harden(model, ANY, inplace=True).rows
        bounds = [row.bound for row in rows if row.new and row.bound is not None]
        words = f"{len(bounds)} activations hardened, by at most {max(bounds, default=0.0):.2g}"
    else:
        name = trial.ship.partition(":")[0]
        for site, call in sites.items():
            new = bevel.create(name, num_parameters=call.channels, dim=call.dim)
            replace(model, named[site], new, Edits(model))
        words = f"{len(sites)} activations replaced by {name}"
    now = dict(model.named_modules())
    return {site: call._replace(module=now[site]) for site, call in sites.items()}, words
