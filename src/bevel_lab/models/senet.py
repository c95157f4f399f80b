"""SENet-18: ResNet-18 with squeeze and excitation (Hu et al. 2018), reduction 16, timm's.

Its batch norms all start at one, as torchvision's ResNets do and timm's by default do not.
"""

from bevel_lab.models._library import from_timm

ENTRIES = {"senet18": from_timm("SENet-18: ResNet-18 with squeeze and excitation", "seresnet18", zero_init_last=False)}
