"""``bevel bench``: measure what activations cost, side by side in one run.

``cpu`` and ``gpu`` measure; they share the cases, the timing, the rows, the targets and the page.
"""

SECTIONS = ("speed", "catalog", "memory", "import", "loop", "network", "inference")
"""The parts of the CPU's benchmark."""
QUICK = ("speed", "memory")
"""The parts that a quick run has."""
