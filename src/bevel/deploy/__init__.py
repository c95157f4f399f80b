"""Deploy a trained model: fold learnt slopes into the layers before them, and harden what is smooth."""

from bevel.deploy._fold import Folded, FoldRow, fold
from bevel.deploy._harden import Hardened, HardenRow, harden

__all__ = ["FoldRow", "Folded", "HardenRow", "Hardened", "fold", "harden"]
