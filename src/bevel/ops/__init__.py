"""One operation, ``smooth``, and its backends."""

from bevel.ops._backends import backends, needs_composed, using
from bevel.ops._smooth import check_dtype, evaluate, smooth

__all__ = ["backends", "check_dtype", "evaluate", "needs_composed", "smooth", "using"]
