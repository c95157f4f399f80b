"""The laws as functions: run them on a kernel or an activation of your own.

Each returns the names of the laws that hold and raises ``AssertionError`` naming the first that does not.
"""

from bevel.testing._activations import check_activation, not_applicable
from bevel.testing._kernels import check_kernel, check_mollified

__all__ = ["check_activation", "check_kernel", "check_mollified", "not_applicable"]
