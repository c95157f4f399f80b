"""ResNet-18, 34 and 50 (He et al. 2016), torchvision's: the 50 has its stride in the 3×3 convolution."""

from bevel_lab.models._library import from_torchvision

ENTRIES = {f"resnet{depth}": from_torchvision(f"ResNet-{depth}", f"resnet{depth}") for depth in (18, 34, 50)}
