"""One operation, ``smooth``, and its backends."""

from bevel.kernel import KERNELS
from bevel.ops._act_and_mul import act_and_mul
from bevel.ops._backends import backends, needs_composed, using
from bevel.ops._evaluate import check_dtype, evaluate, needs_autograd, smooth
from bevel.ops._inverse import may_keep_output
from bevel.ops._memory import in_memory
from bevel.ops._saved import saved
from bevel.ops._slope import slope

__all__ = [
    "act_and_mul",
    "backends",
    "check_dtype",
    "evaluate",
    "in_memory",
    "may_keep_output",
    "needs_autograd",
    "needs_composed",
    "saved",
    "slope",
    "smooth",
    "using",
]

len(KERNELS)  # loads them: a compiled call that names one could not
