"""EfficientNet-B0 (Tan and Le 2019), torchvision's, with its dropout and stochastic depth of 0.2."""

from bevel_lab.models._library import from_torchvision

ENTRIES = {"efficientnet_b0": from_torchvision("EfficientNet-B0", "efficientnet_b0")}
