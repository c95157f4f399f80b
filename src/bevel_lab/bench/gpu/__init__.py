"""Measure what activations cost on a GPU; ``python -m bevel_lab.bench.gpu`` needs only torch and Triton."""
