"""Figs. 4 and 5 and ranked lists: where networks look."""
