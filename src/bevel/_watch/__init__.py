"""Watching activations: ``bevel.watch(model)``."""

from bevel._watch._watch import FLAT, Watch, learnt, watch

__all__ = ["FLAT", "Watch", "learnt", "watch"]
