"""Exact scores of features against a gallery, whose ties do not hang on the machine.

Ties are a matter of the last bit, and a matrix product's last bit hangs on the shape of its
blocks, the threads and the device. So features become fixed-point numbers, coarse enough that
float64 adds their products without any rounding: identical images tie, and neither the block size
nor the machine moves a rank. 25 fractional bits are kept, of the unit vectors (cosine) or of the
features over a power of two above the largest norm (Euclidean): finer than a float32 product is.
Where Euclidean features lie so close together, for their norm, that this is too coarse, 47 are.

Letters: Q queries, G gallery, D embedding, N rows of a block.
"""

import math
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

# Fractional bits of the pieces that a feature is the sum of. Two numbers of 25 bits multiply to 50,
# which leaves float64 three for the sum; 25 and 47 leave it enough up to 1,024 dimensions.
PIECE_BITS = (25, 47)
SPREAD_OF_ONE_PIECE = 1 / 16  # of the largest norm; a narrower gallery needs both


class Scores(Protocol):
    """What a ranking follows; the larger, the nearer."""

    def rows(self, index: Tensor) -> Tensor:
        """(N,) query numbers -> (N, G) float64."""

    def shown(self, index: Tensor, scores: Tensor) -> Tensor:
        """(N, k) of these rows' scores as a reader knows them."""


class Similarity:
    """Exact scores of queries against a gallery, block by block.

    Args:
        queries: (Q, D), checked and on one device with the gallery.
        gallery: (G, D); may be the same tensor.
        metric: "cosine", or "euclidean", whose score is 2 q.g - |g|^2.
    """

    def __init__(self, queries: Tensor, gallery: Tensor, metric: str) -> None:
        self.metric, self.scale, self.bits = metric, 1.0, PIECE_BITS[:1]
        if metric == "euclidean":
            largest = max(float(_norms(features).max()) for features in (queries, gallery))
            self.scale = 2.0 ** math.frexp(largest)[1]
            spread = float(gallery.to(torch.float64).var(0, correction=0).sum().sqrt())
            self.bits = PIECE_BITS[: 1 if spread >= SPREAD_OF_ONE_PIECE * largest else 2]
        self.queries = self._fixed(queries)
        self.gallery = self.queries if gallery is queries else self._fixed(gallery)
        self.query_squares = _product(self.queries, self.queries, _dot)  # (Q,)
        self.gallery_squares = _product(self.gallery, self.gallery, _dot)  # (G,)

    def rows(self, index: Tensor) -> Tensor:
        product = _product(tuple(piece[index] for piece in self.queries), self.gallery, _matmul)
        if self.metric == "cosine":
            return product
        return product.mul_(2).sub_(self.gallery_squares)

    def shown(self, index: Tensor, scores: Tensor) -> Tensor:
        if self.metric == "cosine":
            return scores.clamp(-1, 1)
        return -self.squared_distances(index, scores).sqrt() * self.scale

    def squared_distances(self, index: Tensor, scores: Tensor) -> Tensor:
        """Of the unit vectors (cosine), or of the features over `scale` (Euclidean), (N, ...)."""
        if self.metric == "cosine":
            return (2 - 2 * scores).clamp_(min=0)
        return (self.query_squares[index].unsqueeze(1) - scores).clamp_(min=0)

    def pairs(self, first: Tensor, second: Tensor) -> Tensor:
        """Scores of query `first[i]` and gallery image `second[i]`, (N,)."""
        product = _product(
            tuple(piece[first] for piece in self.queries),
            tuple(piece[second] for piece in self.gallery),
            _dot,
        )
        return product if self.metric == "cosine" else 2 * product - self.gallery_squares[second]

    def _fixed(self, features: Tensor) -> tuple[Tensor, ...]:
        """(N, D) -> pieces (N, D) float64, whose products add without rounding."""
        rest = features.to(torch.float64, copy=True)
        if self.metric == "cosine":
            # By the largest entry first: parallel rows then give one vector, tiny ones no zero.
            rest /= torch.linalg.vector_norm(rest, torch.inf, dim=1, keepdim=True)
            rest /= _norms(rest).unsqueeze(1)
        else:
            rest /= self.scale
        pieces = []
        for bits in self.bits:
            pieces.append((rest * 2.0**bits).round_().mul_(2.0**-bits))
            rest -= pieces[-1]
        return tuple(pieces)


def _product(a: tuple[Tensor, ...], b: tuple[Tensor, ...], multiply: Callable) -> Tensor:
    """Of sums of pieces; the low pieces' own product, below 2^-50 of the norms, is left out."""
    high = multiply(a[0], b[0])
    if len(a) == 1:
        return high
    return high.add_(multiply(a[0], b[1]).add_(multiply(a[1], b[0])))


def _matmul(a: Tensor, b: Tensor) -> Tensor:
    return a @ b.T


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(1)


def _norms(features: Tensor) -> Tensor:
    """(N, D) -> (N,) float64; by entrywise halving, as a library's sums differ between shapes."""
    squares = features.to(torch.float64).square()
    while squares.shape[1] > 1:
        if squares.shape[1] % 2:
            squares = torch.nn.functional.pad(squares, (0, 1))
        half = squares.shape[1] // 2
        squares = squares[:, :half] + squares[:, half:]
    return squares[:, 0].sqrt()


def nearest(scores: Tensor, k: int) -> Tensor:
    """(N, G) -> (N, min(k, G)): the largest first, ties by index."""
    k = min(k, scores.shape[1])
    values, columns = scores.topk(min(k + 1, scores.shape[1]))
    columns = columns[:, :k].sort(dim=1).values
    columns = columns.gather(1, ordered(scores.gather(1, columns)))
    if values.shape[1] > k:  # topk chose among images that tie over the last place
        tied = (values[:, k] == values[:, k - 1]).nonzero()[:, 0]
        columns[tied] = ordered(scores[tied])[:, :k]
    return columns


def ordered(scores: Tensor) -> Tensor:
    """(N, G) -> (N, G) columns: the largest first, ties by index."""
    return scores.argsort(dim=1, descending=True, stable=True)
