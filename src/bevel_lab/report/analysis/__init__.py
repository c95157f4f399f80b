"""From records to comparisons: cells, what holds across them, the A/A test, published numbers."""
