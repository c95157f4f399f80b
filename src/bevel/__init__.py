"""bevel: smooth and learnable activation functions for PyTorch.

Smooth any kinked function by any approximate identity, exactly and at ReLU's memory; SAU (ECCV 2022) and FReLU
(SIViP 2021) are two of its rows.
"""

from bevel import functional, kinked, nn
from bevel.errors import BackendUnavailable, BevelError, InvalidValue, UnknownName
from bevel.kernel import KERNELS, Kernel
from bevel.kinked import PiecewiseLinear
from bevel.mollify import Smooth, mollify, sharpness_for
from bevel.nn import ACTIVATIONS, SAU, FReLU, Mollified, SmoothFReLU
from bevel.ops import backends, smooth
from bevel.spec import canonical, create
from bevel.tabulated import tabulated

__version__ = "0.1.0"

__all__ = [
    "ACTIVATIONS",
    "KERNELS",
    "SAU",
    "BackendUnavailable",
    "BevelError",
    "FReLU",
    "InvalidValue",
    "Kernel",
    "Mollified",
    "PiecewiseLinear",
    "Smooth",
    "SmoothFReLU",
    "UnknownName",
    "backends",
    "canonical",
    "create",
    "functional",
    "kinked",
    "mollify",
    "nn",
    "sharpness_for",
    "smooth",
    "tabulated",
]
