"""What ``bevel run`` and ``bevel compare`` share: they run an experiment, show its progress, and print the verdicts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def execute(experiment: Path | Mapping[str, Any], flags: Mapping[str, Any], dry_run: bool) -> int:
    """Run or estimate an experiment; returns the exit code.

    Args:
        experiment: a TOML file, or its keys.
        flags: keys that win over it.
        dry_run: only estimate what it would cost.
    """
    from bevel_lab.execution.progress import progress_display
    from bevel_lab.execution.run import run

    if dry_run:
        from bevel_lab.cli._dry_run import estimate

        return estimate(experiment, flags)
    with progress_display() as watcher:
        results = run(experiment, on_progress=watcher, **flags)
    if results.records:
        from bevel_lab.cli.report import print_results

        print_results(results)
    return 1 if results.failures else 0
