"""One trial: the trainer, its optimizer, its checkpoint and its result."""
