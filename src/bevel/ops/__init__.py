"""One operation, ``smooth``, and its backends."""

from bevel.ops._backends import backends, needs_composed, using
from bevel.ops._evaluate import check_dtype, evaluate, saved, smooth

__all__ = ["backends", "check_dtype", "evaluate", "needs_composed", "saved", "smooth", "using"]
