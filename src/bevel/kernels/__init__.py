"""The approximate identities, one in each file."""
