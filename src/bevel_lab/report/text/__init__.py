"""What is said: numbers, sentences and tables, the same in the page, the terminal and the files."""
