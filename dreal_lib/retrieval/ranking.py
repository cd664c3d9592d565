"""Open-set retrieval: CMC, mINP and both mean average precisions in use, exact and in blocks.

The protocol is Market-1501's (Zheng et al., 2015), see `dreal_lib.retrieval.protocol`; images
equally near follow gallery order. mINP is Ye et al.'s (2021).

Ranks need no full order: an image's rank counts the scores above its own, which are read off the
sorted values; only rows in which a match ties are put into stable order.

Letters: Q queries, G gallery, D embedding, N rows of a block, M matches in a block.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dreal_lib.errors import UserError
from dreal_lib.retrieval.protocol import Task
from dreal_lib.retrieval.similarity import Scores, Similarity, nearest, ordered


@dataclass(frozen=True, eq=False)
class Retrieval:
    """How well the gallery was ranked; fractions in [0, 1].

    Attributes:
        cmc: (G,), at r-1 the share of queries with a match among the first r.
        rank1, rank5, rank10: Of `cmc`.
        map_step: Mean of the step sum, precision at each match (torchreid, fast-reid).
        map_trapezoid: Mean of the trapezoids that start from precision 1 at recall 0 (Market-1501's
            own MATLAB code).
        minp: Mean of the number of matches over the last match's rank.
        valid_queries: Queries with at least one match, V.
        queries: (V,) int64, their numbers.
        first_ranks: (V,) int64, of their first match, from 1.
        average_precisions: (V,), by the step sum; `map_step` is the mean.
    """

    cmc: np.ndarray
    rank1: float
    rank5: float
    rank10: float
    map_step: float
    map_trapezoid: float
    minp: float
    valid_queries: int
    queries: np.ndarray
    first_ranks: np.ndarray
    average_precisions: np.ndarray


@dataclass(frozen=True, eq=False)
class Nearest:
    """The first images of each query's ranking; where fewer than k are left: -1, NaN, False.

    Attributes:
        indices: (Q, k) int64, into the gallery as it was given.
        similarities: (Q, k) float64: the cosine, or minus the distance (Euclidean, re-ranked).
        right: (Q, k) bool, of the query's id.
    """

    indices: np.ndarray
    similarities: np.ndarray
    right: np.ndarray


def evaluate(
    query_features,
    gallery_features,
    query_ids,
    gallery_ids,
    query_cameras=None,
    gallery_cameras=None,
    metric: str = "cosine",
    rerank: Callable[[Tensor, Tensor, str], Scores] | None = None,
) -> Retrieval:
    """Rank the gallery for each query and score the rankings by the protocol above.

    Args:
        query_features, gallery_features: (Q, D) and (G, D), arrays or tensors; the work is done on
            the gallery's device, in float64; sparse ones are made dense.
        query_ids, gallery_ids: (Q,) and (G,), whole numbers; -1 is junk, in the gallery only.
        query_cameras, gallery_cameras: (Q,) and (G,), whole numbers; None for a set without.
        metric: "cosine" or "euclidean".
        rerank: None, or `reranking.Reranking()`.

    Raises:
        UserError: Features, ids or cameras that do not fit together, NaN or infinite features, a
            zero vector under cosine, an unknown metric, junk queries, or no query with a match.
    """
    task = Task.checked(
        query_features, gallery_features, query_ids, gallery_ids, query_cameras, gallery_cameras,
        metric,
    )  # fmt: skip
    valid = task.valid_queries()
    scores = (rerank or Similarity)(task.queries, task.gallery, metric)
    measured = []
    for index in task.blocks(valid):
        row, column, ranked = task.same_id(index)
        block = task.without_own_camera(scores.rows(index), row, column, ranked)
        ranks = _ranks(block, row[ranked], column[ranked])
        measured.append(_measure(row[ranked].cpu().numpy(), ranks.cpu().numpy()))
    first, step, trapezoid, inverse = np.concatenate(measured, axis=1)
    first = first.astype(np.int64)
    found = np.bincount(first, minlength=len(task.kept) + 1)[1:]
    cmc = found.cumsum() / len(valid)
    rank1, rank5, rank10 = (float(cmc[min(rank, len(cmc)) - 1]) for rank in (1, 5, 10))
    means = (float(values.mean()) for values in (step, trapezoid, inverse))
    return Retrieval(cmc, rank1, rank5, rank10, *means, len(valid), valid, first, step)


def topk(
    query_features,
    gallery_features,
    query_ids,
    gallery_ids,
    query_cameras=None,
    gallery_cameras=None,
    metric: str = "cosine",
    rerank: Callable[[Tensor, Tensor, str], Scores] | None = None,
    k: int = 10,
) -> Nearest:
    """The first k gallery images of each query, matches or not, by `evaluate`'s protocol.

    Args and errors as `evaluate`'s, but that a query may lack a match; k from 1.
    """
    if k < 1:
        raise UserError(f"k must be at least 1; got {k}")
    task = Task.checked(
        query_features, gallery_features, query_ids, gallery_ids, query_cameras, gallery_cameras,
        metric,
    )  # fmt: skip
    scores = (rerank or Similarity)(task.queries, task.gallery, metric)
    shape = (len(task.queries), k)
    indices, similarities = np.full(shape, -1), np.full(shape, np.nan)
    right = np.zeros(shape, dtype=bool)
    for index in task.blocks(np.arange(len(task.queries))):
        block = task.without_own_camera(scores.rows(index), *task.same_id(index))
        columns = nearest(block, k)
        values = block.gather(1, columns)
        rows, left = index.cpu().numpy(), values.isfinite().cpu().numpy()
        shown, columns = scores.shown(index, values).cpu().numpy(), columns.cpu().numpy()
        width = columns.shape[1]
        indices[rows, :width] = np.where(left, task.kept[columns], -1)
        similarities[rows, :width] = np.where(left, shown, np.nan)
        right[rows, :width] = left & (task.gallery_ids[columns] == task.query_ids[rows, None])
    return Nearest(indices, similarities, right)


def _ranks(scores: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """Ranks from 1 of the images (row, column), (M,), `row` ascending; scores (N, G)."""
    own = scores[row, column]
    count = row.bincount(minlength=len(scores))
    slot = torch.arange(len(row), device=row.device) - (count.cumsum(0) - count)[row]
    asked = own.new_full((len(scores), int(count.max())), torch.inf)  # (N, most matches of a row)
    asked[row, slot] = own
    if scores.is_cuda:
        values = scores.sort(dim=1).values
    else:  # numpy sorts values alone, several times faster
        values = torch.from_numpy(np.sort(scores.numpy(), axis=1))
    upto = torch.searchsorted(values, asked, right=True)[row, slot]
    below = torch.searchsorted(values, asked)[row, slot]
    ranks = scores.shape[1] - upto + 1
    tied = torch.zeros(len(scores), dtype=torch.bool, device=row.device)
    tied[row[upto - below > 1]] = True
    if tied.any():
        order = ordered(scores[tied])
        places = torch.arange(1, order.shape[1] + 1, device=row.device).expand_as(order)
        exact = torch.empty_like(order).scatter_(1, order, places)
        chosen = tied[row]
        ranks[chosen] = exact[(tied.cumsum(0) - 1)[row[chosen]], column[chosen]]
    return ranks


def _measure(row: np.ndarray, rank: np.ndarray) -> np.ndarray:
    """First rank, both average precisions and the inverse penalty of each row, (4, N).

    Args:
        row: (M,), ascending; every row occurs.
        rank: (M,).
    """
    rank = rank[np.lexsort((rank, row))].astype(np.float64)
    count = np.bincount(row)
    start = count.cumsum() - count
    place = np.arange(1, len(row) + 1) - start[row]  # 1, 2, ... within a row
    precision = place / rank
    before = np.where(rank > 1, (place - 1) / np.maximum(rank - 1, 1), 1.0)
    step = np.bincount(row, precision) / count
    trapezoid = np.bincount(row, (before + precision) / 2) / count
    return np.stack([rank[start], step, trapezoid, count / rank[start + count - 1]])
