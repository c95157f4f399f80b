"""Runs trials in two processes that torchrun's own functions start.

Usage: ``python torchrun_trials.py FOLDER``: reads fields of trials from ``trials.json`` there and writes
``records.jsonl``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import lightning.fabric  # noqa: F401  with torch's compiler, as every process needs them
import torch
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from bevel_lab.experiment.trial import Trial
from bevel_lab.runtime.distributed import TorchrunProcessGroup
from bevel_lab.training.run import run_trial


def train(folder: Path) -> None:
    """Run the trials as one of the processes; the first writes the records."""
    group = TorchrunProcessGroup(torch.device("cpu"))
    for fields in json.loads((folder / "trials.json").read_text()):
        record = run_trial(Trial(**fields), group=group)
        if group.rank == 0:
            with (folder / "records.jsonl").open("a") as file:
                file.write(record.to_json() + "\n")


if __name__ == "__main__":
    # forks of this process, which the command cannot have: torch and Lightning take six seconds to import in each
    config = LaunchConfig(
        min_nodes=1, max_nodes=1, nproc_per_node=2, run_id="trials", rdzv_backend="c10d", rdzv_endpoint="localhost:0",
        start_method="fork", max_restarts=0,
    )  # fmt: skip
    elastic_launch(config, train)(Path(sys.argv[1]))
