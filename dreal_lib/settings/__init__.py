"""What each paper leaves open, as named settings."""

from dreal_lib.settings.dreal import Settings
from dreal_lib.settings.retrieval import RetrievalSettings

__all__ = ["RetrievalSettings", "Settings"]
