"""bevel's swap over 40 architectures, and what ``bevel inspect`` tells of a model."""
