"""``bevel bench``: measure what activations cost, side by side in one run.

``cpu`` and ``gpu`` measure; they share the cases, the timing, the rows, the targets and the page.
"""
