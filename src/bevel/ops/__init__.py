"""One operation, ``smooth``, and its backends."""

from bevel.ops._backends import backends, needs_composed, using
from bevel.ops._smooth import evaluate, smooth

__all__ = ["backends", "evaluate", "needs_composed", "smooth", "using"]
