"""Statistics on plain arrays: paired tests, aggregates over cells, and calibration of the judge."""
