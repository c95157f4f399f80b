"""Whole pages: HTML, Markdown, the calibration page, and compact records."""
