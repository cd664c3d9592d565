"""The papers' statements and what our runs say of each."""
