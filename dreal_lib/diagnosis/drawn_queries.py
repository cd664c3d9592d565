"""Which queries a retrieval run keeps for figures, and which pairs: drawn by lot.

The lot hangs on the data's fingerprint alone, so that runs of any method and seed keep the same
ones. Letters: V valid queries, S kept queries, P pairs.
"""

from dataclasses import dataclass

import numpy as np

from dreal_lib.data.identities import IdentitySet

KEPT = 24  # queries
PAIRS = 200


@dataclass(frozen=True)
class Lot:
    """What was drawn.

    Attributes:
        queries: Places of the kept queries in the query split, (S,); of as many identities as can
            be, in the order drawn.
        pairs: Places in the query split and, of a match, in the gallery split, (P, 2).
    """

    queries: np.ndarray
    pairs: np.ndarray


def matches(images: IdentitySet, query: int) -> np.ndarray:
    """Places in the gallery that count as right for a query: its identity, another camera."""
    gallery = images.gallery
    right = gallery.identities == images.query.identities[query]
    if gallery.cameras is not None:
        right &= gallery.cameras != images.query.cameras[query]
    return np.flatnonzero(right)


def draw(
    images: IdentitySet, valid: np.ndarray, fingerprint: str, kept: int = KEPT, pairs: int = PAIRS
) -> Lot:
    """Queries and pairs by lot; every identity comes once before any comes twice.

    Args:
        images: The set.
        valid: Places of the queries that have a match, (V,).
        fingerprint: Of the data, hexadecimal; it alone decides the lot.
        kept: Queries wanted.
        pairs: Pairs wanted.
    """
    lot = np.random.default_rng(int(fingerprint, 16))
    shuffled = lot.permutation(np.sort(valid))
    seen: dict[int, int] = {}
    turn = []
    for identity in images.query.identities[shuffled].tolist():
        seen[identity] = seen.get(identity, -1) + 1
        turn.append(seen[identity])
    order = shuffled[np.argsort(turn, kind="stable")]
    drawn = [(int(query), int(lot.choice(matches(images, query)))) for query in order[:pairs]]
    return Lot(order[:kept], np.array(drawn, dtype=np.int64).reshape(-1, 2))
