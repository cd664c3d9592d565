"""Figs. 2 and 3, and spatial maps."""
