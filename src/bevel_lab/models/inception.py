"""Inception v3 (Szegedy et al. 2016), torchvision's, without the auxiliary head."""

from bevel_lab.models._library import from_torchvision

ENTRIES = {
    "inception_v3": from_torchvision(
        "Inception v3 without auxiliary head",
        "inception_v3",
        min_size=24,
        aux_logits=False,
        init_weights=False,  # the lab draws its own
    )
}
