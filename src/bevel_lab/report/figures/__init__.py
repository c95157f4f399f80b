"""Drawings of a report, as SVG: they read what was judged and compute nothing of their own."""
