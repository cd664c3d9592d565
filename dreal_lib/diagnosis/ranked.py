"""What a retrieval run leaves for figures and tests: scores by query, ranked lists, heat maps.

Two kinds of heat maps (`dreal_lib.diagnosis.embedding_cam`) are made, both by the lot of
`dreal_lib.diagnosis.drawn_queries`:

- of the kept queries' first images, as a reader sees them in the figure;
- of the drawn pairs, a query and one match of it: these are the same in all runs, so the share of
  a map that lies on the figure's mask can be compared pair by pair.

Names, shapes and types of what is kept stand in `dreal_lib.records.arrays`. Letters: S kept
queries, R places of a list, P pairs, G gallery, D embedding, h, w cells of a map.
"""

import json
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dreal_lib.data.boxes import MASKS
from dreal_lib.data.identities import IdentitySet, IdentitySplit
from dreal_lib.data.identity_batches import SplitBatches
from dreal_lib.diagnosis.cells import Cells
from dreal_lib.diagnosis.drawn_queries import draw, matches
from dreal_lib.diagnosis.embedding_cam import similarity_maps
from dreal_lib.diagnosis.localization import LAYER, can_explain, find_layer, laid
from dreal_lib.diagnosis.map_scores import energy
from dreal_lib.diagnosis.receptive_fields import cells_of_layer
from dreal_lib.errors import UserError
from dreal_lib.networks.embedding import EmbeddingNet
from dreal_lib.records.arrays import (
    AVERAGE_PRECISION,
    FIRST_RANK,
    HEAT_SETTINGS,
    KEPT_CAMERA,
    KEPT_IDENTITY,
    KEPT_MATCHES,
    KEPT_PLACE,
    MASK_SHARE,
    PAIR_ENERGY,
    PAIR_GALLERY,
    PAIR_QUERY,
    QUERY_HEAT,
    QUERY_IDENTITY,
    QUERY_PLACE,
    TOP,
    TOP_CAMERA,
    TOP_HEAT,
    TOP_IDENTITY,
    TOP_RIGHT,
    TOP_SIMILARITY,
)  # fmt: skip
from dreal_lib.retrieval.ranking import Retrieval, topk

FIRST = 10  # gallery images of a ranked list


@dataclass(frozen=True)
class Features:
    """Embeddings on the CPU: of all queries (Q, D) and of the whole gallery (G, D)."""

    query: Tensor
    gallery: Tensor


def scores_by_query(images: IdentitySet, scores: Retrieval) -> dict[str, np.ndarray]:
    """Identity, rank of the first match and step-sum average precision of each valid query."""
    return {
        QUERY_PLACE: scores.queries.astype(np.int32),
        QUERY_IDENTITY: images.query.identities[scores.queries].astype(np.int32),
        FIRST_RANK: scores.first_ranks.astype(np.int32),
        AVERAGE_PRECISION: scores.average_precisions.astype(np.float32),
    }


def ranked_lists(
    images: IdentitySet, features: Features, queries: np.ndarray, metric: str, first: int = FIRST
) -> dict[str, np.ndarray]:
    """The first gallery images of some queries (S,), by name."""
    query, gallery = images.query, images.gallery
    own = None if query.cameras is None else query.cameras[queries]
    found = topk(
        features.query[torch.from_numpy(queries)],
        features.gallery,
        query.identities[queries],
        gallery.identities,
        own,
        gallery.cameras,
        metric,
        k=first,
    )
    places = found.indices
    counts = np.array([len(matches(images, place)) for place in queries])

    def of(numbers: np.ndarray | None) -> np.ndarray:
        if numbers is None:
            return np.full(places.shape, -1)
        return np.where(places >= 0, numbers[places], -1)

    arrays = {
        KEPT_PLACE: queries,
        KEPT_IDENTITY: query.identities[queries],
        KEPT_CAMERA: np.full(len(queries), -1) if own is None else own,
        KEPT_MATCHES: counts,
        TOP: places,
        TOP_IDENTITY: of(gallery.identities),
        TOP_CAMERA: of(gallery.cameras),
    }
    return {name: values.astype(np.int32) for name, values in arrays.items()} | {
        TOP_SIMILARITY: found.similarities.astype(np.float32),
        TOP_RIGHT: found.right,
    }


def heat_maps(
    network: EmbeddingNet,
    query: SplitBatches,
    gallery: SplitBatches,
    features: Features,
    places: np.ndarray,
    top: np.ndarray,
) -> dict[str, np.ndarray]:
    """Maps of the kept queries and of the first images of their lists.

    A gallery image's map is for the similarity to its query, a query's for that to the first image
    of its list.

    Args:
        network: In evaluation or training mode, which is kept.
        query, gallery: The test splits.
        features: Of all their images.
        places, top: `KEPT_PLACE` (S,) and `TOP` (S, R) of `ranked_lists`.

    Returns:
        By name; of maximum 1 or zero everywhere.
    """
    number, _ = np.nonzero(top >= 0)
    listed = top[top >= 0]
    of_gallery = similarity_maps(
        network,
        gallery.chosen(listed),
        features.query[torch.from_numpy(places)],
        torch.from_numpy(number),
    )
    of_query = similarity_maps(
        network,
        query.chosen(places),
        features.gallery[torch.from_numpy(top[:, 0])],
        torch.arange(len(places)),
    )
    lists = np.zeros((*top.shape, *of_gallery.shape[1:]), dtype=np.float16)
    lists[top >= 0] = of_gallery.half().numpy()
    cells = _cells(network, gallery)
    settings = {"method": "gradcam", "layer": LAYER, "image_size": cells.size, **cells.settings()}
    return {
        QUERY_HEAT: of_query.half().numpy(),
        TOP_HEAT: lists,
        HEAT_SETTINGS: np.array(json.dumps(settings)),
    }


def _cells(network: EmbeddingNet, batches: SplitBatches) -> Cells:
    images, *_ = next(iter(batches.chosen([0])))
    device = next(network.parameters()).device
    return cells_of_layer(network, find_layer(network, LAYER), images.to(device))


def energy_on_masks(
    network: EmbeddingNet, gallery: SplitBatches, features: Features, pairs: np.ndarray
) -> dict[str, np.ndarray]:
    """Share of the map of each pair's match that lies on its mask; nothing without masks.

    Args:
        network: As for `heat_maps`.
        gallery: The gallery split.
        features: Of all test images.
        pairs: From `dreal_lib.diagnosis.drawn_queries.draw`, (P, 2).

    Returns:
        By name; the energy is NaN where a map is zero everywhere, and the mask's share is what a
        map that is alike everywhere would get.

    Raises:
        UserError: A mask that cannot be read.
    """
    cells = _cells(network, gallery)
    masks = read_masks(gallery.split, pairs[:, 1], cells.size)
    if masks is None:
        return {}
    maps = similarity_maps(
        network,
        gallery.chosen(pairs[:, 1]),
        features.query[torch.from_numpy(pairs[:, 0])],
        torch.arange(len(pairs)),
    )
    large = laid(maps, cells)
    return {
        PAIR_QUERY: pairs[:, 0].astype(np.int32),
        PAIR_GALLERY: pairs[:, 1].astype(np.int32),
        PAIR_ENERGY: energy(large, masks).numpy().astype(np.float32),
        MASK_SHARE: masks.float().mean((1, 2)).numpy().astype(np.float32),
    }


def read_masks(split: IdentitySplit, places: np.ndarray, size: tuple[int, int]) -> Tensor | None:
    """Masks of some images as the network sees these, (N, H, W) bool; None if one has none.

    Raises:
        UserError: A mask that is no image.
    """
    found = []
    for place in places.tolist():
        file = (split.root / MASKS / split.files[place]).with_suffix(".png")
        if not file.is_file():
            return None
        try:
            with Image.open(file) as image:
                small = image.convert("L").resize(size[::-1], Image.Resampling.BILINEAR)
        except OSError as error:
            raise UserError(f"mask {file} is no image ({error}); prepare the set again") from None
        found.append(torch.from_numpy(np.asarray(small) >= 128))
    return torch.stack(found)


def figure_arrays(
    network: EmbeddingNet,
    images: IdentitySet,
    query: SplitBatches,
    gallery: SplitBatches,
    features: Features,
    scores: Retrieval,
    fingerprint: str,
    metric: str,
) -> dict[str, np.ndarray]:
    """All of the above; without pytorch-grad-cam no maps and no pairs.

    Args:
        network: What was trained.
        images: The set.
        query, gallery: Batches of its test splits.
        features: Of all their images, by the network.
        scores: Of the features.
        fingerprint: Of the data.
        metric: Of the ranking.
    """
    by_query = scores_by_query(images, scores)
    lot = draw(images, scores.queries, fingerprint)
    lists = ranked_lists(images, features, lot.queries, metric)
    if not can_explain():
        return by_query | lists
    maps = heat_maps(network, query, gallery, features, lot.queries, lists[TOP])
    return by_query | lists | maps | energy_on_masks(network, gallery, features, lot.pairs)
