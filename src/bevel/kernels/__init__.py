"""One approximate identity a file."""
