"""PreActResNet-18, 34 and 50 (He et al. 2016b): batch norm and activation before each convolution; timm's."""

from bevel_lab.models._library import from_timm

ENTRIES = {
    f"preact_resnet{depth}": from_timm(f"PreActResNet-{depth}: pre-activation ResNet", f"resnetv2_{depth}")
    for depth in (18, 34, 50)
}
