"""Runs trials in all processes that torchrun has started.

Usage: ``torchrun torchrun_trials.py FOLDER``: reads fields of trials from
``trials.json`` there and writes ``records.jsonl``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

from bevel_lab.experiment.trial import Trial
from bevel_lab.runtime.distributed import TorchrunProcessGroup
from bevel_lab.training.run import run_trial

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    group = TorchrunProcessGroup(torch.device("cpu"))
    for fields in json.loads((folder / "trials.json").read_text()):
        record = run_trial(Trial(**fields), group=group)
        if group.rank == 0:
            with (folder / "records.jsonl").open("a") as file:
                file.write(record.to_json() + "\n")
