"""Try bevel's swap on 40 architectures; inspect the activations of any model."""
