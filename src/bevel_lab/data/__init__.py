"""Samples of every kind: images, video and text, in memory or in files; how they are loaded, and what is invalid."""
