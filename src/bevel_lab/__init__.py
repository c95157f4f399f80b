"""The lab: what bevel's activations are compared with. It imports bevel; nothing imports it."""
