"""bevel: smooth and learnable activation functions for PyTorch.

Smooth any kinked function by any approximate identity, exactly and at ReLU's memory; SAU (ECCV 2022) and FReLU
(SIViP 2021) are two of its rows.
"""

from typing import TYPE_CHECKING, Any

from bevel import functional, kinked, nn
from bevel._mollify import Mollification, mollify, sharpness_for
from bevel._tabulated import tabulated
from bevel._watch import learnt, watch
from bevel.deploy import fold, harden
from bevel.errors import BackendUnavailable, BevelError, InvalidValue, UnknownName
from bevel.kernel import KERNELS, Kernel
from bevel.kinked import PiecewiseLinear
from bevel.nn import ACTIVATIONS, SAU, FReLU, Mollified, SmoothFReLU
from bevel.ops import backends, smooth
from bevel.spec import canonical, create
from bevel.training import Alternating, SharpnessSchedule, parameter_groups

if TYPE_CHECKING:
    from bevel.surgery import find, swap

__version__ = "0.1.0"

_LAZY = {"find": "bevel.surgery", "swap": "bevel.surgery"}  # what takes a moment to import waits until asked for


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'bevel' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_LAZY[name]), name)


__all__ = [
    "ACTIVATIONS",
    "KERNELS",
    "SAU",
    "Alternating",
    "BackendUnavailable",
    "BevelError",
    "FReLU",
    "InvalidValue",
    "Kernel",
    "Mollification",
    "Mollified",
    "PiecewiseLinear",
    "SharpnessSchedule",
    "SmoothFReLU",
    "UnknownName",
    "backends",
    "canonical",
    "create",
    "find",
    "fold",
    "functional",
    "harden",
    "kinked",
    "learnt",
    "mollify",
    "nn",
    "parameter_groups",
    "sharpness_for",
    "smooth",
    "swap",
    "tabulated",
    "watch",
]
