"""ShuffleNet V2 (Ma et al. 2018) in the paper's four widths, torchvision's."""

from bevel_lab.models._library import from_torchvision

ENTRIES = {
    f"shufflenet_v2_{width}": from_torchvision(f"ShuffleNet V2, {summary}", f"shufflenet_v2_{width}")
    for width, summary in (("x0_5", "0.5×"), ("x1_0", "1×"), ("x1_5", "1.5×"), ("x2_0", "2×"))
}
