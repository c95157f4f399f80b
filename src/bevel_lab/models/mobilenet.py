"""MobileNet v1 (Howard et al. 2017), timm's, and v2 (Sandler et al. 2018), torchvision's with its dropout of 0.2."""

from bevel_lab.models._library import from_timm, from_torchvision

ENTRIES = {
    "mobilenet_v1": from_timm("MobileNet v1, width 1", "mobilenetv1_100"),
    "mobilenet_v2": from_torchvision("MobileNet v2, width 1", "mobilenet_v2"),
}
