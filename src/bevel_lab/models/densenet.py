"""DenseNet-121 (Huang et al. 2017), growth 32, torchvision's."""

from bevel_lab.models._library import from_torchvision

ENTRIES = {"densenet121": from_torchvision("DenseNet-121, growth 32", "densenet121")}
