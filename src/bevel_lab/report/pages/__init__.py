"""Write whole files: the HTML report, the Markdown page, the calibration page, and compact records."""
