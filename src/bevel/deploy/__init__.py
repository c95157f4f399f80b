"""Deploying: fold learnt slopes into the layers before them, and put the corners back where that is proven harmless."""

from bevel.deploy._fold import Folded, FoldRow, fold
from bevel.deploy._harden import Hardened, HardenRow, error_bound, harden

__all__ = ["FoldRow", "Folded", "HardenRow", "Hardened", "error_bound", "fold", "harden"]
