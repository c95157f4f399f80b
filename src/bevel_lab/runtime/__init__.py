"""What a trial runs on: random numbers, determinism, devices, processes, memory, atomic files, provenance."""
