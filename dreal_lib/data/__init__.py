"""Prepared image sets, read and batched."""
