"""One operation, ``smooth``, and its backends."""

from bevel.ops._backends import backends, needs_composed, using
from bevel.ops._direct import output_tells_input
from bevel.ops._evaluate import check_dtype, evaluate, smooth
from bevel.ops._memory import in_memory
from bevel.ops._saved import saved
from bevel.ops._slope import slope

__all__ = [
    "backends",
    "check_dtype",
    "evaluate",
    "in_memory",
    "needs_composed",
    "output_tells_input",
    "saved",
    "slope",
    "smooth",
    "using",
]
