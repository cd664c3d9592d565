"""Re-ranking with k-reciprocal encoding (Zhong et al., CVPR 2017), an option of `retrieval`.

Two images that are among each other's k nearest are likelier to match than their distance says.
The new one is (1 - lambda) * Jaccard distance of the two k-reciprocal sets + lambda * distance.

Where the paper is silent we follow the usual public code, so that figures can be compared: the
distance is the squared Euclidean one (of the unit vectors under cosine), divided by the largest in
the image's row; neighbours are sought among queries and gallery together; an image is its own
first neighbour and comes on top of k1, but counts within k2; encodings sum to 1. A neighbour joins
a set at an overlap of 2/3 or more, as the paper writes it (that code: more than 2/3).

Memory: no square matrix of all Q+G images stands. Distances come in blocks, encodings are sparse:
for each image its neighbours and a few hundred entries, about 12 bytes each, on the CPU.

Letters: Q queries, G gallery, A = Q + G, D embedding, N rows of a block.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from dreal_lib.errors import UserError
from dreal_lib.retrieval.protocol import BLOCK_BYTES
from dreal_lib.retrieval.similarity import Similarity, nearest

if TYPE_CHECKING:
    from scipy.sparse import csr_array


@dataclass(frozen=True)
class Reranking:
    """Settings; pass one as `rerank` to `retrieval.evaluate` or `retrieval.topk`.

    Args:
        k1: Neighbours whose reciprocity is asked, from 1.
        k2: Neighbours, itself included, over which an encoding is averaged; 1 for none.
        original_weight: The paper's lambda, in [0, 1]: 1 leaves the ranking as it was.

    Raises:
        UserError: A number that cannot be, or scipy is not installed.
    """

    k1: int = 20
    k2: int = 6
    original_weight: float = 0.3

    def __post_init__(self) -> None:
        if self.k1 < 1 or self.k2 < 1:
            raise UserError(
                f"k1 and k2 must be at least 1; got {self.k1} and {self.k2}; the paper takes "
                "20 and 6"
            )
        if not 0 <= self.original_weight <= 1:
            raise UserError(
                f"original_weight must lie in [0, 1]; got {self.original_weight}; the paper "
                "takes 0.3"
            )
        _csr(np.zeros((1, 1)))  # fails at once where scipy is missing

    def __call__(self, queries: Tensor, gallery: Tensor, metric: str) -> Reranked:
        """Scores of (Q, D) against (G, D); UserError if there are too few images for k1 or k2."""
        needed = max(self.k1 + 1, self.k2)
        if len(queries) + len(gallery) < needed:
            raise UserError(
                f"re-ranking with k1 = {self.k1} and k2 = {self.k2} needs {needed} images; got "
                f"{len(queries) + len(gallery)}, queries and gallery together; lower k1 and k2"
            )
        everything = torch.cat([queries, gallery])
        similarity = Similarity(everything, everything, metric)
        neighbours, largest = _neighbours(similarity, needed)
        encodings = _encodings(similarity, neighbours, largest, self.k1)
        if self.k2 > 1:
            encodings = _membership(neighbours[:, : self.k2]) @ encodings / self.k2
        return Reranked(similarity, largest, encodings, len(queries), self.original_weight)


class Reranked:
    """Minus the new distances, block by block: `retrieval.Scores`.

    Args:
        similarity: Of all A images with each other.
        largest: (A,) squared distance of each to the farthest.
        encodings: (A, A) sparse, rows that sum to 1.
        query_count: The first images are the queries.
        original_weight: lambda.
    """

    def __init__(
        self,
        similarity: Similarity,
        largest: Tensor,
        encodings: csr_array,
        query_count: int,
        original_weight: float,
    ) -> None:
        self.similarity, self.largest, self.original_weight = similarity, largest, original_weight
        self.query_count = query_count
        self.queries = _csr(encodings[:query_count])
        self.gallery = _csr(encodings[query_count:]).tocsc()  # by column: who holds an entry

    def rows(self, index: Tensor) -> Tensor:
        squared = self.similarity.squared_distances(index, self.similarity.rows(index))
        distances = squared[:, self.query_count :] / self.largest[index].unsqueeze(1)
        jaccard = np.stack([self._jaccard(query) for query in index.tolist()])
        jaccard = torch.from_numpy(jaccard).to(distances.device)
        return -(jaccard * (1 - self.original_weight) + distances * self.original_weight)

    def shown(self, index: Tensor, scores: Tensor) -> Tensor:
        return scores

    def _jaccard(self, query: int) -> np.ndarray:
        """(G,) 1 - sum of minima / sum of maxima, the latter 2 - sum of minima."""
        entries = slice(*self.queries.indptr[query : query + 2])
        columns, own = self.queries.indices[entries], self.queries.data[entries]
        start = self.gallery.indptr[columns]
        count = self.gallery.indptr[columns + 1] - start
        place = np.arange(count.sum()) + np.repeat(start - (count.cumsum() - count), count)
        minima = np.minimum(self.gallery.data[place], np.repeat(own, count))
        shared = np.bincount(self.gallery.indices[place], minima, minlength=self.gallery.shape[0])
        return 1 - shared / (2 - shared)


def _csr(
    entries: object, shape: tuple[int, int] | None = None, dtype: type | None = None
) -> csr_array:
    try:  # not at the top: ranking alone needs no scipy
        from scipy.sparse import csr_array
    except ImportError:
        raise UserError(
            "re-ranking needs scipy; try pip install 'dreal-companion[retrieval]'"
        ) from None
    return csr_array(entries, shape, dtype)


def _neighbours(similarity: Similarity, count: int) -> tuple[np.ndarray, Tensor]:
    """Each image's `count` nearest, itself first, (A, count), and the largest squared distance.

    The largest is 1 where all images coincide: every distance is 0 then.
    """
    total = len(similarity.gallery[0])
    found, largest = [], []
    device = similarity.gallery[0].device
    for index in torch.arange(total, device=device).split(max(1, BLOCK_BYTES // (8 * total))):
        scores = similarity.rows(index)
        squared = similarity.squared_distances(index, scores.amin(1, keepdim=True))
        largest.append(squared[:, 0])
        scores[torch.arange(len(index), device=device), index] = torch.inf
        found.append(nearest(scores, count).cpu().numpy())
    largest = torch.cat(largest)
    return np.concatenate(found), largest.where(largest > 0, 1.0)


def _membership(neighbours: np.ndarray) -> csr_array:
    """(A, k) -> (A, A) sparse: 1 where column is a neighbour of row."""
    total, k = neighbours.shape
    ones = np.ones(total * k)
    return _csr((ones, neighbours.ravel(), np.arange(0, total * k + 1, k)), (total, total))


def _reciprocal(neighbours: np.ndarray) -> csr_array:
    """(A, k) -> (A, A) sparse: 1 where both are neighbours of each other."""
    near = _membership(neighbours)
    return _csr(near.multiply(near.T))


def _encodings(
    similarity: Similarity, neighbours: np.ndarray, largest: Tensor, k1: int
) -> csr_array:
    """(A, A) sparse: exp(-distance) over the expanded k-reciprocal set, rows that sum to 1."""
    wide = _reciprocal(neighbours[:, : k1 + 1])
    half = _reciprocal(neighbours[:, : round(k1 / 2) + 1])
    overlap = _csr((wide @ half.T).multiply(wide)).tocoo()
    enough = 3 * overlap.data >= 2 * half.sum(axis=1)[overlap.col]
    joining = _csr((overlap.data[enough] > 0, (overlap.row[enough], overlap.col[enough])),
                   wide.shape, dtype=float)  # fmt: skip
    expanded = _csr(wide + joining @ half)
    expanded.sort_indices()  # rows are added in one order, whatever the products left
    first = np.repeat(np.arange(len(neighbours)), np.diff(expanded.indptr))
    expanded.data = np.exp(-_pair_distances(similarity, first, expanded.indices, largest))
    totals = np.bincount(first, expanded.data)
    expanded.data /= totals[first]
    return expanded


def _pair_distances(
    similarity: Similarity, first: np.ndarray, second: np.ndarray, largest: Tensor
) -> np.ndarray:
    """Squared distances over the largest of `first`'s row, (pairs,), in blocks."""
    dimensions, device = similarity.gallery[0].shape[1], largest.device
    size = max(1, BLOCK_BYTES // (8 * dimensions))
    found = []
    for start in range(0, len(first), size):
        a, b = (
            torch.from_numpy(part[start : start + size].astype(np.int64)).to(device)
            for part in (first, second)
        )
        squared = similarity.squared_distances(a, similarity.pairs(a, b).unsqueeze(1))[:, 0]
        found.append((squared / largest[a]).cpu().numpy())
    return np.concatenate(found)
