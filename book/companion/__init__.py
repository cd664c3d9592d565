"""The book's own apparatus: what its pages, and nothing else, need."""
