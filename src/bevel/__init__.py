"""bevel: smooth and learnable activation functions for PyTorch.

Smooth any kinked function by any approximate identity, exactly and at ReLU's memory; SAU (ECCV 2022) and FReLU
(SIViP 2021) are two of its rows.

``import bevel`` imports the exceptions and nothing else, not even torch; every other name is imported when it is first
asked for.
"""

from typing import TYPE_CHECKING

from bevel import errors
from bevel.errors import BackendUnavailable, BevelError, InvalidValue, UnknownName

if TYPE_CHECKING:
    from bevel import deploy, functional, integrations, kinked, nn, surgery, testing, training
    from bevel._mollify import Mollification, mollify, sharpness_for
    from bevel._tabulated import tabulated
    from bevel._watch import learnt, watch
    from bevel.deploy import fold, harden
    from bevel.kernel import KERNELS, Kernel
    from bevel.kinked import PiecewiseLinear
    from bevel.nn import ACTIVATIONS, SAU, FReLU, Mollified, SmoothFReLU
    from bevel.ops import backends, smooth
    from bevel.spec import canonical, create
    from bevel.surgery import find, swap
    from bevel.training import Alternating, SharpnessSchedule, parameter_groups

__version__ = "0.1.0"

_PACKAGES = ("deploy", "functional", "integrations", "kinked", "nn", "surgery", "testing", "training")
_LAZY = {
    "_mollify": ("Mollification", "mollify", "sharpness_for"),
    "_tabulated": ("tabulated",),
    "_watch": ("learnt", "watch"),
    "deploy": ("fold", "harden"),
    "kernel": ("Kernel",),
    "kinked": ("PiecewiseLinear",),
    "nn": ("ACTIVATIONS", "SAU", "FReLU", "Mollified", "SmoothFReLU"),
    "ops": ("KERNELS", "backends", "smooth"),
    "spec": ("canonical", "create"),
    "surgery": ("find", "swap"),
    "training": ("Alternating", "SharpnessSchedule", "parameter_groups"),
}
_HOME = {name: module for module, names in _LAZY.items() for name in names}

if not TYPE_CHECKING:  # a type checker knows every name from above, and that there are no others

    def __getattr__(name: str) -> object:  # by __import__, which torch.compile can trace
        if name in _PACKAGES:
            return __import__(f"bevel.{name}", fromlist=["*"])
        if name not in _HOME:
            raise AttributeError(f"module 'bevel' has no attribute {name!r}")
        value = getattr(__import__(f"bevel.{_HOME[name]}", fromlist=[name]), name)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return [*__all__, "__doc__", "__file__", "__name__", "__path__", "__version__"]


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
    "deploy",
    "errors",
    "find",
    "fold",
    "functional",
    "harden",
    "integrations",
    "kinked",
    "learnt",
    "mollify",
    "nn",
    "parameter_groups",
    "sharpness_for",
    "smooth",
    "surgery",
    "swap",
    "tabulated",
    "testing",
    "training",
    "watch",
]
