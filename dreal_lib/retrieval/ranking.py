"""Open-set retrieval: CMC, mINP and both mean average precisions in use, exact and in blocks.

The protocol is Market-1501's (Zheng et al., 2015): junk (id -1) leaves the gallery; a query leaves
out the gallery images of its own id and camera; a query without a match left is skipped; images
equally near follow gallery order. mINP is Ye et al.'s (2021).

Ranks need no full order: an image's rank counts the scores above its own, which are read off the
sorted values; only rows in which a match ties are put into stable order.

Letters: Q queries, G gallery, D embedding, N rows of a block, M matches in a block.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dreal_lib.errors import UserError, unknown_choice
from dreal_lib.retrieval.similarity import Scores, Similarity, nearest, ordered

JUNK = -1
METRICS = ("cosine", "euclidean")
BLOCK_BYTES = 64 * 2**20  # of a block of scores; two or three such blocks stand at a time


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
            the gallery's device, in float64.
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


@dataclass(frozen=True, eq=False)
class Task:
    """Checked inputs without junk; `kept` (G,) are the gallery's numbers as given."""

    queries: Tensor
    gallery: Tensor
    query_ids: np.ndarray
    gallery_ids: np.ndarray
    query_cameras: np.ndarray | None
    gallery_cameras: np.ndarray | None
    kept: np.ndarray

    @classmethod
    def checked(
        cls, query_features, gallery_features, query_ids, gallery_ids, query_cameras,
        gallery_cameras, metric: str,
    ) -> "Task":  # fmt: skip
        """Raises what `evaluate` raises, but for queries without a match."""
        if metric not in METRICS:
            raise unknown_choice("metric", metric, METRICS)
        queries = _features("query_features", query_features, metric)
        gallery = _features("gallery_features", gallery_features, metric)
        if queries.shape[1] != gallery.shape[1]:
            raise UserError(
                "query and gallery features must have as many dimensions; got "
                f"{queries.shape[1]} and {gallery.shape[1]}; embed both with one network"
            )
        ids = (
            _numbers("query_ids", query_ids, len(queries)),
            _numbers("gallery_ids", gallery_ids, len(gallery)),
        )
        cameras = _cameras(query_cameras, gallery_cameras, len(queries), len(gallery))
        if junk := int((ids[0] == JUNK).sum()):
            raise UserError(
                f"junk (id {JUNK}) stands in the gallery only; {junk} of {len(queries)} queries "
                "have that id; leave them out"
            )
        kept = np.flatnonzero(ids[1] != JUNK)
        if not len(kept):
            raise UserError(f"every gallery image is junk (id {JUNK}); nothing is left to rank")
        if len(kept) < len(gallery):
            gallery = gallery[torch.from_numpy(kept).to(gallery.device)]
        own, others = cameras
        others = None if others is None else others[kept]
        return cls(queries.to(gallery.device), gallery, ids[0], ids[1][kept], own, others, kept)

    def valid_queries(self) -> np.ndarray:
        """Numbers of the queries with a match that another camera took; UserError if none has."""
        matches = _occurrences(self.query_ids, self.gallery_ids)
        if not matches.any():
            raise UserError(
                f"no query has a match: none of the {len(np.unique(self.query_ids))} query ids is "
                "among the gallery's; number both in one way"
            )
        if self.query_cameras is not None:
            queries = np.stack([self.query_ids, self.query_cameras], axis=1)
            gallery = np.stack([self.gallery_ids, self.gallery_cameras], axis=1)
            matches = matches - _occurrences(*_codes(queries, gallery))
        if not matches.any():
            raise UserError(
                "no query has a match that another camera took, and its own camera's do not count; "
                "leave query_cameras and gallery_cameras out to count them"
            )
        return np.flatnonzero(matches)

    def blocks(self, queries: np.ndarray) -> Iterator[Tensor]:
        """Numbers of queries, so many at a time that their scores fill BLOCK_BYTES."""
        size = max(1, BLOCK_BYTES // (8 * len(self.gallery)))
        for start in range(0, len(queries), size):
            yield torch.from_numpy(queries[start : start + size]).to(self.gallery.device)

    def same_id(self, index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(row, column, is it ranked?) of the gallery images of the queries' ids; row ascending."""
        index = index.cpu().numpy()
        order = self.gallery_ids.argsort(kind="stable")
        start, stop = (
            np.searchsorted(self.gallery_ids, self.query_ids[index], side, sorter=order)
            for side in ("left", "right")
        )
        count = stop - start
        row = np.repeat(np.arange(len(index)), count)
        column = order[np.arange(len(row)) + np.repeat(start - (count.cumsum() - count), count)]
        ranked = np.ones(len(row), dtype=bool)
        if self.query_cameras is not None:
            ranked = self.query_cameras[index][row] != self.gallery_cameras[column]
        row, column, ranked = (torch.from_numpy(part) for part in (row, column, ranked))
        device = self.gallery.device
        return row.to(device), column.to(device), ranked.to(device)

    @staticmethod
    def without_own_camera(block: Tensor, row: Tensor, column: Tensor, ranked: Tensor) -> Tensor:
        """Scores (N, G) in place, the pairs that are not ranked behind all others."""
        block[row[~ranked], column[~ranked]] = -torch.inf
        return block


def _features(name: str, value: object, metric: str) -> Tensor:
    """(N, D) of finite real numbers."""
    try:
        features = torch.as_tensor(value).detach()
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"{name} must be an array or tensor of numbers: {error}") from None
    if features.dim() != 2 or not features.numel() or features.is_complex():
        raise UserError(
            f"{name} must be real numbers of shape (images, dimensions), neither 0; got "
            f"{tuple(features.shape)}, {features.dtype}"
        )
    if features.device.type == "mps":  # has no float64
        features = features.cpu()
    largest = features.abs().amax(1)
    bad = {"numbers that are NaN, infinite or beyond 1e100": ~(largest <= 1e100)}
    if metric == "cosine":
        bad["zero vectors, which have no cosine"] = largest == 0
    for what, rows in bad.items():
        if rows.any():
            raise UserError(
                f"{name} holds {what}, in {int(rows.sum())} of {len(rows)} rows, the first row "
                f"{int(rows.nonzero()[0])}; look at the network, or leave those images out"
            )
    return features


def _numbers(name: str, value: object, length: int) -> np.ndarray:
    """(length,) int64."""
    numbers = value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
    if numbers.shape != (length,):
        raise UserError(
            f"{name} must hold one number for each of the {length} feature rows; got shape "
            f"{numbers.shape}"
        )
    if numbers.dtype.kind not in "iu":
        raise UserError(
            f"{name} must be whole numbers; got {numbers.dtype}; number them by "
            "numpy.unique(..., return_inverse=True), queries and gallery together"
        )
    return numbers.astype(np.int64)


def _cameras(own: object, others: object, queries: int, gallery: int) -> tuple:
    """Both checked, or (None, None)."""
    if (own is None) != (others is None):
        missing = "query_cameras" if own is None else "gallery_cameras"
        raise UserError(f"cameras are given for both sides or neither; {missing} is missing")
    if own is None:
        return None, None
    return _numbers("query_cameras", own, queries), _numbers("gallery_cameras", others, gallery)


def _occurrences(wanted: np.ndarray, among: np.ndarray) -> np.ndarray:
    """How often each of `wanted` (Q,) is in `among` (G,)."""
    among = np.sort(among)
    return np.searchsorted(among, wanted, "right") - np.searchsorted(among, wanted, "left")


def _codes(queries: np.ndarray, gallery: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(Q, 2) and (G, 2) -> one number for each pair of numbers."""
    _, codes = np.unique(np.concatenate([queries, gallery]), axis=0, return_inverse=True)
    return codes.ravel()[: len(queries)], codes.ravel()[len(queries) :]
