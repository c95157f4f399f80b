"""Statistics on plain arrays: paired tests, aggregates over cells, and the calibration of the judge."""
