"""ResNeXt-50 (Xie et al. 2017), 32 groups of width 4, torchvision's."""

from bevel_lab.models._library import from_torchvision

ENTRIES = {"resnext50": from_torchvision("ResNeXt-50, 32×4d", "resnext50_32x4d")}
