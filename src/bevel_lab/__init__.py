"""The lab, which compares bevel's activations with others. It imports bevel, and bevel does not import it.

``bevel_lab.run`` runs an experiment and gives its results; ``bevel_lab.estimate`` says what it would cost. Everything
here is loaded when it is first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bevel_lab.execution.estimate import Estimate, estimate
    from bevel_lab.execution.ray_cluster import Ray
    from bevel_lab.execution.results import Results
    from bevel_lab.execution.run import run
    from bevel_lab.execution.torchrun import Torchrun
    from bevel_lab.execution.workers import Workers
    from bevel_lab.experiment.experiment import Experiment

__all__ = ["Estimate", "Experiment", "Ray", "Results", "Torchrun", "Workers", "estimate", "run"]

_HOMES = {
    "Estimate": "execution.estimate",
    "Experiment": "experiment.experiment",
    "Ray": "execution.ray_cluster",
    "Results": "execution.results",
    "Torchrun": "execution.torchrun",
    "Workers": "execution.workers",
    "estimate": "execution.estimate",
    "run": "execution.run",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
