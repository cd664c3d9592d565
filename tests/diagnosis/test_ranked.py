"""What a retrieval run keeps: the lot, scores by query, ranked lists, heat maps, masks' energy."""

import numpy as np
import pytest
import torch
from PIL import Image

from dreal_lib.data.identities import open_identity_set
from dreal_lib.data.identity_batches import SplitBatches
from dreal_lib.diagnosis import drawn_queries, ranked
from dreal_lib.errors import UserError
from dreal_lib.networks.embedding import create_embedding, embed_all
from dreal_lib.recipes import load_recipe
from dreal_lib.records.arrays import OF_RETRIEVAL, check_figure_data
from dreal_lib.retrieval.ranking import evaluate, topk
from dreal_lib.tasks.retrieval import open_data, open_task

SIZE = (16, 8)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Four test identities (d has one camera, so no match), two queries each, junk, a mask each."""
    root = tmp_path_factory.mktemp("set")
    noise = np.random.default_rng(0)
    rows = ["file,identity,camera,split"]

    def add(name, identity, camera, split):
        pixels = noise.integers(0, 256, (24, 12, 3), dtype=np.uint8)
        mask = np.zeros((24, 12), dtype=np.uint8)
        mask[:, :6] = 255
        for folder, content in ((root, pixels), (root / "masks", mask)):
            folder.mkdir(exist_ok=True)
            Image.fromarray(content).save(folder / f"{name}.png")
        rows.append(f"{name}.png,{identity},{camera},{split}")

    for identity in "xy":
        add(f"train_{identity}", identity, 1, "train")
    for identity in "abcd":
        for number in range(2):
            add(f"query_{identity}{number}", identity, 1, "query")
        for number in range(3):
            camera = 1 if identity == "d" else 1 + number
            add(f"gallery_{identity}{number}", identity, camera, "gallery")
    add("junk", "-1", 2, "gallery")
    (root / "index.csv").write_text("\n".join(rows) + "\n")
    return root


@pytest.fixture(scope="module")
def images(root):
    return open_identity_set(root)


@pytest.fixture(scope="module")
def features(images):
    noise = torch.Generator().manual_seed(0)
    sizes = (len(images.query), len(images.gallery))
    return ranked.Features(*(torch.randn(n, 5, generator=noise) for n in sizes))


def sides(images, features):
    return (
        features.query, features.gallery, images.query.identities, images.gallery.identities,
        images.query.cameras, images.gallery.cameras,
    )  # fmt: skip


VALID = np.arange(6)  # the queries of a, b and c


def test_the_lot_hangs_on_the_fingerprint_alone_and_takes_each_identity_in_turn(images):
    first, again = (drawn_queries.draw(images, VALID, "0a" * 32, 5, 4) for _ in range(2))
    assert np.array_equal(first.queries, again.queries)
    assert np.array_equal(first.pairs, again.pairs)
    lots = {tuple(drawn_queries.draw(images, VALID, f"{n:064x}", 6).queries) for n in range(20)}
    assert len(lots) > 10
    for lot in lots:
        identities = images.query.identities[list(lot)]
        assert len(set(identities[:3])) == 3
        assert len(set(lot)) == 6


def test_a_pair_is_a_query_and_a_match_of_another_camera(images):
    seen = set()
    for n in range(30):
        for query, match in drawn_queries.draw(images, VALID, f"{n:x}").pairs:
            assert images.query.identities[query] == images.gallery.identities[match]
            assert images.query.cameras[query] != images.gallery.cameras[match]
            seen.add((query, match))
    assert len(seen) == 6 * 2  # every match has its chance


def test_scores_by_query_are_those_that_the_record_is_the_mean_of(images, features):
    whole = evaluate(*sides(images, features))
    found = ranked.scores_by_query(images, whole)
    assert found["queries/place"].tolist() == VALID.tolist()
    assert found["queries/average_precision"].mean() == pytest.approx(whole.map_step)
    for rank in range(1, len(whole.cmc) + 1):
        assert (found["queries/first_rank"] <= rank).mean() == pytest.approx(whole.cmc[rank - 1])


def test_average_precision_by_hand(images):
    # Of query a0 (camera 1) a1 and a2 count, a0 is dropped. By cosine: b0 1, a1 2, a2 4.
    query, gallery = torch.ones(8, 2), torch.zeros(13, 2)
    gallery[:, 1] = -1
    names = [f.removesuffix(".png").removeprefix("gallery_") for f in images.gallery.files]
    for name, x in (("b0", 0.9), ("a1", 0.8), ("c0", 0.7), ("a2", 0.6), ("a0", 1.0)):
        gallery[names.index(name)] = torch.tensor([x, x - 1])
    found = ranked.scores_by_query(
        images, evaluate(*sides(images, ranked.Features(query, gallery)))
    )
    assert found["queries/first_rank"][0] == 2
    assert found["queries/average_precision"][0] == pytest.approx((1 / 2 + 2 / 4) / 2)


def test_ranked_lists(images, features):
    queries = np.array([4, 0])
    found = ranked.ranked_lists(images, features, queries, "cosine", first=4)
    every = topk(*sides(images, features), k=4)
    assert np.array_equal(found["kept/top"], every.indices[queries])
    assert np.array_equal(found["kept/right"], every.right[queries])
    assert np.allclose(found["kept/similarity"], every.similarities[queries])
    assert found["kept/matches"].tolist() == [2, 2]
    assert found["kept/camera"].tolist() == [0, 0]
    right = found["kept/top_identity"] == found["kept/identity"][:, None]
    assert np.array_equal(right, found["kept/right"])
    longer = ranked.ranked_lists(images, features, queries, "cosine", first=20)
    assert (longer["kept/top"][:, 11:] == -1).all()  # 13 less junk less the own camera's
    assert (longer["kept/top_identity"][:, 11:] == -1).all()


@pytest.fixture(scope="module")
def run(images):
    """A tiny network and all that a run of it keeps."""
    torch.manual_seed(0)
    network = create_embedding("cbam_resnet14", 2, width=4, stem="tiny").eval()
    query, gallery = (
        SplitBatches(split, SIZE, 5, workers=0) for split in (images.query, images.gallery)
    )
    features = ranked.Features(*(embed_all(network, b.epoch()) for b in (query, gallery)))
    scores = evaluate(*sides(images, features))
    parts = (network, images, query, gallery, features, scores, "ab" * 32, "cosine")
    return ranked.figure_arrays(*parts), parts


def test_what_a_run_keeps(run):
    arrays, _ = run
    check_figure_data(arrays, OF_RETRIEVAL)
    assert arrays["kept/place"].shape == (6,)
    assert arrays["kept/top"].shape == (6, ranked.FIRST)
    h, w = arrays["cam/query"].shape[1:]
    assert arrays["cam/top"].shape == (6, ranked.FIRST, h, w)
    for name in ("cam/query", "cam/top"):
        highest = arrays[name].max((-2, -1))
        assert np.isin(highest, (0, 1)).all()
        assert (highest == 1).any()
    assert arrays["pairs/mask_share"] == pytest.approx(np.full(6, 0.5))
    energy = arrays["pairs/energy"]
    assert ((energy >= 0) & (energy <= 1) | np.isnan(energy)).all()


def test_a_list_shows_each_image_in_its_place(run):
    arrays, (network, _, _, gallery, features, *_) = run
    from dreal_lib.diagnosis.embedding_cam import similarity_maps

    one = similarity_maps(
        network,
        gallery.chosen([arrays["kept/top"][2, 3]]),
        features.query[torch.tensor([arrays["kept/place"][2]])],
        torch.tensor([0]),
    )
    assert np.allclose(arrays["cam/top"][2, 3], one[0], atol=2e-3)


def test_energy_is_the_share_of_the_map_on_the_mask(run):
    arrays, (network, _, _, gallery, features, *_) = run
    maps = ranked.similarity_maps(
        network,
        gallery.chosen(arrays["pairs/gallery"]),
        features.query[torch.from_numpy(arrays["pairs/query"]).long()],
        torch.arange(6),
    )
    heights, widths = (
        range(0, side, side // n) for side, n in zip(SIZE, maps.shape[1:], strict=True)
    )
    rows = np.apply_along_axis(lambda v: np.interp(range(SIZE[0]), heights, v), 1, maps.numpy())
    cells = np.apply_along_axis(lambda v: np.interp(range(SIZE[1]), widths, v), 2, rows)
    left = cells[:, :, :4].sum((1, 2)) / cells.sum((1, 2))  # the masks' half
    assert arrays["pairs/energy"] == pytest.approx(left, nan_ok=True)


def test_without_masks_or_without_the_library_there_is_less(run, root, monkeypatch):
    _, parts = run
    some = ranked.read_masks(parts[1].gallery, np.array([0, 3]), SIZE)
    assert some.shape == (2, *SIZE)
    assert some[:, :, :4].all()
    assert not some[:, :, 4:].any()
    monkeypatch.setattr(ranked, "MASKS", "elsewhere")
    assert ranked.read_masks(parts[1].gallery, np.array([0]), SIZE) is None
    without = ranked.figure_arrays(*parts)
    assert not [name for name in without if name.startswith("pairs/")]
    monkeypatch.setattr(ranked, "can_explain", lambda: False)
    assert {name.split("/")[0] for name in ranked.figure_arrays(*parts)} == {"queries", "kept"}


def test_a_damaged_mask_is_named(images, tmp_path, monkeypatch):
    (tmp_path / "masks").mkdir()
    name = images.gallery.files[0]
    (tmp_path / "masks" / name).write_text("no image")
    split = type(images.gallery)(tmp_path, images.gallery.files, images.gallery.identities, None)
    with pytest.raises(UserError, match=rf"mask .*{name} is no image"):
        ranked.read_masks(split, np.array([0]), SIZE)


def test_a_run_keeps_the_scores_that_its_record_states(root, tmp_path):
    changes = {"identities_per_batch": 2, "images_per_identity": 2, "image_size": [16, 16]}
    recipe = load_recipe("table_2/resnet50_reinforced", "smoke", overrides=changes)
    task = open_task(recipe, open_data(recipe, root, tmp_path), torch.device("cpu"), workers=0)
    arrays, stated = task.figure_data(), task.validate(None)
    assert 100 * arrays["queries/average_precision"].mean() == pytest.approx(stated["map_step_pct"])
    assert 100 * (arrays["queries/first_rank"] == 1).mean() == pytest.approx(stated["rank1_pct"])
    images = open_identity_set(root)
    lot = drawn_queries.draw(images, VALID, task.facts.fingerprint)
    assert np.array_equal(arrays["kept/place"], lot.queries)
    assert np.array_equal(arrays["pairs/gallery"], lot.pairs[:, 1])
