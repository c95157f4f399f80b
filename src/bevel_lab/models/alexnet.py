"""AlexNet (Krizhevsky et al. 2012), torchvision's single-column form, with its dropout of 0.5."""

from bevel_lab.models._library import from_torchvision

ENTRIES = {"alexnet": from_torchvision("AlexNet: five convolutions, three linear layers with dropout", "alexnet")}
