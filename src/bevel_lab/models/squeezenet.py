"""SqueezeNet 1.0 (Iandola et al. 2016), the paper's, torchvision's, with its dropout of 0.5."""

from bevel_lab.models._library import from_torchvision

ENTRIES = {"squeezenet": from_torchvision("SqueezeNet 1.0: eight fire modules", "squeezenet1_0")}
