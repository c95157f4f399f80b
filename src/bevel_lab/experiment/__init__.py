"""Experiments as data: trials, records, the ledger, arms, settings, tuning and protocols. Nothing here trains."""
