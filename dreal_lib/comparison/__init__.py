"""Runs sorted into rows, paired by seed, and what may be claimed of their differences."""

from dreal_lib.comparison.paired import Difference, Summary, paired_difference, summarise

__all__ = ["Difference", "Summary", "paired_difference", "summarise"]
