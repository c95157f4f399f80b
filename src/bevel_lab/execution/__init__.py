"""Run many trials: in worker processes on this machine, on a Ray cluster, or several processes a trial (torchrun)."""
