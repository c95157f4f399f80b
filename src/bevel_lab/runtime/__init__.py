"""The ground a trial runs on: random streams, determinism, devices, processes, memory, atomic files, provenance."""
