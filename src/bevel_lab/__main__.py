"""``python -m bevel_lab`` is ``bevel``."""

import sys

from bevel_lab.cli import main

if __name__ == "__main__":
    sys.exit(main())
