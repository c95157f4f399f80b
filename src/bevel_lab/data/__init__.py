"""Samples of every kind, images, video and text, in memory or in files; their loading, and invalid samples."""
