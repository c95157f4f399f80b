"""What is drawn: SVG figures of cells and across cells, and tables of test samples."""
