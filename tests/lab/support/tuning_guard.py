"""The ``bevel`` command, which fails if tuning reads the test part; its workers import this file, too."""

import sys

from torch import nn

from bevel_lab.cli import main
from bevel_lab.tasks.classification import Classification

_test = Classification.test


def _guarded(self: Classification, model: nn.Module) -> dict[str, float]:
    if self.trial.tuning:
        raise AssertionError("the test part was read while tuning")
    return _test(self, model)


Classification.test = _guarded  # type: ignore[method-assign]

if __name__ == "__main__":
    sys.exit(main())
