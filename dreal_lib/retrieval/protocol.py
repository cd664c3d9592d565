"""What is ranked for whom: Market-1501's protocol (Zheng et al., 2015), and its inputs checked.

Junk (id -1) leaves the gallery; a query leaves out the gallery images of its own id and camera; a
query without a match left is skipped.

Letters: Q queries, G gallery, D embedding, N rows of a block.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dreal_lib.errors import UserError, unknown_choice

JUNK = -1
METRICS = ("cosine", "euclidean")
_COMPUTED_IN = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
BLOCK_BYTES = 64 * 2**20  # of a block of scores; two or three such blocks stand at a time


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
        if features.layout != torch.strided:
            features = features.to_dense()
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"{name} must be an array or tensor of numbers: {error}") from None
    if features.dim() != 2 or not features.numel() or features.is_complex():
        raise UserError(
            f"{name} must be real numbers of shape (images, dimensions), neither 0; got "
            f"{tuple(features.shape)}, {features.dtype}"
        )
    if features.device.type == "mps":  # has no float64
        features = features.cpu()
    if features.dtype not in _COMPUTED_IN:  # of the others torch has no absolute value, or no sort
        features = features.double()
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
