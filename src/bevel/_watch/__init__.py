"""What :func:`bevel.watch` and :func:`bevel.learnt` are made of."""

from bevel._watch._watch import FLAT, Watch, learnt, watch

__all__ = ["FLAT", "Watch", "learnt", "watch"]
