"""A real Ray cluster on the loopback: a head, and a second node that is added and killed on command.

Usage: ``python ray_nodes.py``. Prints the cluster's address, then reads commands from standard input and prints each
when it is done: ``add`` starts a node with a pretended GPU, ``kill`` kills it. The end of input ends the cluster.
"""

from __future__ import annotations

import sys
from typing import Any

from ray.cluster_utils import Cluster


def main() -> None:
    spared = {"include_dashboard": False, "include_log_monitor": False, "no_monitor": True}  # nobody looks at these
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, **spared})
    second: Any = None
    print(nodes.address, flush=True)
    try:
        for line in sys.stdin:
            if line == "add\n" and second is None:
                second = nodes.add_node(num_cpus=1, num_gpus=1)
            elif line == "kill\n" and second is not None:
                nodes.remove_node(second, allow_graceful=False)
                second = None
            print(line, end="", flush=True)
    finally:
        nodes.shutdown()


if __name__ == "__main__":
    main()
