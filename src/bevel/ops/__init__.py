"""One operation, ``smooth``, and its backends."""

from bevel.ops._backends import backends, needs_composed, using
from bevel.ops._evaluate import check_dtype, evaluate, saved, smooth
from bevel.ops._memory import in_memory

__all__ = ["backends", "check_dtype", "evaluate", "in_memory", "needs_composed", "saved", "smooth", "using"]
