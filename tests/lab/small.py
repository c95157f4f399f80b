"""Trials that take a fraction of a second."""

from __future__ import annotations

from typing import Any

import bevel
from bevel_lab.trial import Trial

RECIPE: dict[str, Any] = {"model": "mlp", "epochs": 3, "train_limit": 200, "batch_size": 25}


def trial(spec: str = "relu", **settings: Any) -> Trial:
    return Trial(activation=bevel.canonical(spec), **(RECIPE | settings))
