"""Xception (Chollet 2017), timm's, with the paper's dropout of 0.5 before the last layer."""

from bevel_lab.models._library import from_timm

ENTRIES = {"xception": from_timm("Xception: separable convolutions", "legacy_xception", drop_rate=0.5)}
