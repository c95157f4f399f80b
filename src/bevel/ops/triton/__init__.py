"""The Triton backend: layouts, the text of its programs, and their launches. Nothing here imports Triton on its own."""
