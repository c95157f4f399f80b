"""Faster R-CNN (Ren et al. 2015), torchvision's; its batch norms learn, since nothing is frozen here."""

from __future__ import annotations

from typing import Any

from bevel_lab.models._detector import detector


def _make(classes: int) -> Any:
    from torchvision.models.detection import fasterrcnn_resnet50_fpn

    return fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=classes)


ENTRIES = {
    "fasterrcnn_resnet50_fpn": detector(
        "Faster R-CNN with ResNet-50 and feature pyramid, images of 800 to 1,333 pixels",
        _make,
        full=("backbone", "rpn.head", "roi_heads.box_predictor"),
    )
}
