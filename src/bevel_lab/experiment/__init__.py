"""What is to be run and what came out, as data: trials, records, ledger, arms, tuning, protocols. No training."""
