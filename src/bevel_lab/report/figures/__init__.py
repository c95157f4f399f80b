"""Draw cells, and all cells together, as SVG; show test samples."""
