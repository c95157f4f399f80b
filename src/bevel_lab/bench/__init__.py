"""``bevel bench``: what activations cost, measured side by side in one run."""
