"""Ranking a gallery for each query, and scoring the ranking."""

from dreal_lib.retrieval.ranking import Nearest, Retrieval, evaluate, topk
from dreal_lib.retrieval.reranking import Reranking

__all__ = ["Nearest", "Reranking", "Retrieval", "evaluate", "topk"]
