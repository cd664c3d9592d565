"""What a retrieval run leaves for figures and tests: scores by query, ranked lists, heat maps.

Two kinds of heat maps (`dreal_lib.diagnosis.embedding_cam`) are made, both by the lot of
`dreal_lib.diagnosis.drawn_queries`:

- of the kept queries' first images, as a reader sees them in the figure;
- of the drawn pairs, a query and one match of it: these are the same in all runs, so the share of
  a map that lies on the figure's mask can be compared pair by pair.

Letters: V valid queries, S kept queries, P pairs, G gallery, D embedding, h, w cells of a map.
"""

import json
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from dreal_lib.data.boxes import MASKS
from dreal_lib.data.identities import IdentitySet, IdentitySplit
from dreal_lib.data.identity_batches import SplitBatches
from dreal_lib.diagnosis.drawn_queries import draw, matches
from dreal_lib.diagnosis.embedding_cam import similarity_maps
from dreal_lib.diagnosis.localization import LAYER, can_explain
from dreal_lib.diagnosis.map_scores import energy
from dreal_lib.errors import UserError
from dreal_lib.networks.embedding import EmbeddingNet
from dreal_lib.retrieval.ranking import Task, topk
from dreal_lib.retrieval.similarity import Similarity

FIRST = 10  # gallery images of a ranked list


@dataclass(frozen=True)
class Features:
    """Embeddings on the CPU: of all queries (Q, D) and of the whole gallery (G, D)."""

    query: Tensor
    gallery: Tensor


def checked(images: IdentitySet, features: Features, metric: str) -> Task:
    """What `dreal_lib.retrieval.ranking` is to rank of a set and its features; errors as there."""
    return Task.checked(*_sides(images, features), metric)


def _sides(images: IdentitySet, features: Features) -> tuple:
    query, gallery = images.query, images.gallery
    identities = (query.identities, gallery.identities)
    return (features.query, features.gallery, *identities, query.cameras, gallery.cameras)


def scores_by_query(task: Task, metric: str) -> dict[str, np.ndarray]:
    """Rank of the first match and step-sum average precision of each valid query.

    Returns:
        queries/place (V,) int32, queries/first_rank (V,) int32, from 1, and
        queries/average_precision (V,) float32, from 0 to 1.
    """
    scores = Similarity(task.queries, task.gallery, metric)
    valid = task.valid_queries()
    first, precision = [], []
    for index in task.blocks(valid):
        row, column, ranked = task.same_id(index)
        block = task.without_own_camera(scores.rows(index), row, column, ranked)
        order = block.argsort(dim=1, descending=True, stable=True)
        places = torch.arange(1, order.shape[1] + 1, device=order.device).expand_as(order)
        ranks = torch.empty_like(order).scatter_(1, order, places)
        row, ranks = row[ranked].cpu().numpy(), ranks[row[ranked], column[ranked]].cpu().numpy()
        for number in range(len(index)):
            own = np.sort(ranks[row == number])
            first.append(own[0])
            precision.append(np.mean(np.arange(1, len(own) + 1) / own))
    return {
        "queries/place": valid.astype(np.int32),
        "queries/first_rank": np.array(first, dtype=np.int32),
        "queries/average_precision": np.array(precision, dtype=np.float32),
    }


def ranked_lists(
    images: IdentitySet, features: Features, queries: np.ndarray, metric: str, first: int = FIRST
) -> dict[str, np.ndarray]:
    """The first gallery images of some queries.

    Returns:
        kept/place, kept/identity, kept/camera and kept/matches (number of right images) of the
        queries, (S,) int32; kept/top (places in the gallery split), kept/top_identity and
        kept/top_camera (S, first) int32; kept/similarity (S, first) float32; kept/right (S, first)
        bool. A camera is -1 in a set without. Where the gallery has no more: -1, NaN, False.
    """
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
        "place": queries,
        "identity": query.identities[queries],
        "camera": np.full(len(queries), -1) if own is None else own,
        "matches": counts,
        "top": places,
        "top_identity": of(gallery.identities),
        "top_camera": of(gallery.cameras),
    }
    return {f"kept/{name}": values.astype(np.int32) for name, values in arrays.items()} | {
        "kept/similarity": found.similarities.astype(np.float32),
        "kept/right": found.right,
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
        places, top: kept/place (S,) and kept/top (S, K) of `ranked_lists`.

    Returns:
        cam/query (S, h, w) and cam/top (S, K, h, w), float16, of maximum 1 or zero everywhere;
        cam/settings (JSON).
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
    settings = {"method": "gradcam", "layer": LAYER, "image_size": list(_size(gallery))}
    return {
        "cam/query": of_query.half().numpy(),
        "cam/top": lists,
        "cam/settings": np.array(json.dumps(settings)),
    }


def _size(batches: SplitBatches) -> tuple[int, int]:
    images, *_ = next(iter(batches.chosen([0])))
    return tuple(images.shape[-2:])


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
        pairs/query, pairs/gallery (P,) int32, the places; pairs/energy (P,) float32, NaN where the
        map is zero everywhere; pairs/mask_share (P,) float32, the mask's share of the image, which
        is what a map that is alike everywhere would get.

    Raises:
        UserError: A mask that cannot be read.
    """
    masks = read_masks(gallery.split, pairs[:, 1], _size(gallery))
    if masks is None:
        return {}
    maps = similarity_maps(
        network,
        gallery.chosen(pairs[:, 1]),
        features.query[torch.from_numpy(pairs[:, 0])],
        torch.arange(len(pairs)),
    )
    large = F.interpolate(maps.unsqueeze(1), masks.shape[-2:], mode="bilinear")[:, 0]
    return {
        "pairs/query": pairs[:, 0].astype(np.int32),
        "pairs/gallery": pairs[:, 1].astype(np.int32),
        "pairs/energy": energy(large, masks).numpy().astype(np.float32),
        "pairs/mask_share": masks.float().mean((1, 2)).numpy().astype(np.float32),
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
    fingerprint: str,
    metric: str,
) -> dict[str, np.ndarray]:
    """All of the above; without pytorch-grad-cam no maps and no pairs.

    Args:
        network: What was trained.
        images: The set.
        query, gallery: Batches of its test splits.
        features: Of all their images, by the network.
        fingerprint: Of the data.
        metric: Of the ranking.
    """
    task = checked(images, features, metric)
    by_query = scores_by_query(task, metric)
    lot = draw(images, by_query["queries/place"], fingerprint)
    lists = ranked_lists(images, features, lot.queries, metric)
    if not can_explain():
        return by_query | lists
    maps = heat_maps(network, query, gallery, features, lot.queries, lists["kept/top"])
    return by_query | lists | maps | energy_on_masks(network, gallery, features, lot.pairs)
