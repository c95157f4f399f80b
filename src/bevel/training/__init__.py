"""Training: activation parameters as their own group, alternate optimization, and a sharpness that grows."""

from bevel.training._alternating import Alternating
from bevel.training._groups import activation_kinds, activation_parameters, parameter_groups
from bevel.training._sharpness import SharpnessSchedule

__all__ = ["Alternating", "SharpnessSchedule", "activation_kinds", "activation_parameters", "parameter_groups"]
