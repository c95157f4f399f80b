"""A driver for the cluster test: a real two-node Ray cluster on the loopback, one node of which is killed on the way.

Usage: ``python ray_nodes.py FOLDER SETTINGS``, where SETTINGS is the JSON of ``Experiment.resolve``'s arguments. Writes
the ledger of the grid into FOLDER, and prints what happened, one JSON object a line.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

from ray.cluster_utils import Cluster

from bevel_lab import cluster as on_cluster
from bevel_lab.datasets import Source
from bevel_lab.experiment import Experiment
from bevel_lab.grid import Failure, Setup
from bevel_lab.ledger import Ledger
from bevel_lab.record import Record
from bevel_lab.trial import Trial


@dataclasses.dataclass
class Watch:
    """Prints what it is told, and kills a node once ``after`` epochs have been heard of."""

    nodes: Cluster
    victim: Any
    after: int
    heard: int = 0

    def epoch(self, trial: Trial, label: str, done: int) -> None:
        print(json.dumps(["epoch", trial.id, done]), flush=True)
        self.heard += 1
        if self.heard == self.after:
            self.nodes.remove_node(self.victim, allow_graceful=False)
            print(json.dumps(["killed", "", 0]), flush=True)

    def record(self, record: Record) -> None:
        print(json.dumps(["record", record.trial.id, 0]), flush=True)

    def failure(self, failure: Failure) -> None:
        print(json.dumps(["failure", failure.reason, 0]), flush=True)

    def note(self, text: str) -> None:
        print(json.dumps(["note", text, 0]), flush=True)


def main(folder: Path, settings: dict[str, Any]) -> int:
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    victim = nodes.add_node(num_cpus=1)
    setup = Setup(Source(), "cpu", folder / "checkpoints", state_every=0.0)
    try:
        with Ledger(folder) as ledger:
            jobs = Experiment.resolve(**settings).trials()
            failures = on_cluster.run(jobs, ledger, setup, nodes.address, Watch(nodes, victim, after=5))
    finally:
        nodes.shutdown()
    return len(failures)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), json.loads(sys.argv[2])))
