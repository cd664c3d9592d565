"""k-reciprocal re-ranking against sets and loops."""

import numpy as np
import pytest
import torch
from slow_reference import slow_reranking, slow_retrieval

from dreal_lib.errors import UserError
from dreal_lib.retrieval import protocol, reranking
from dreal_lib.retrieval.ranking import evaluate, topk
from dreal_lib.retrieval.reranking import Reranking


def clusters(seed: int, queries: int = 8, gallery: int = 34) -> tuple:
    """Features around 5 centres, far enough apart for reciprocal neighbours to matter."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(5, 6))
    ids = rng.integers(0, 5, queries + gallery)
    features = centres[ids] + 0.6 * rng.normal(size=(len(ids), 6))
    return features[:queries], features[queries:], ids[:queries], ids[queries:]


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize(("k1", "k2", "weight"), [(8, 3, 0.3), (5, 1, 0.0), (1, 2, 0.5)])
def test_against_loops(metric, k1, k2, weight):
    q, g, query_ids, gallery_ids = clusters(k1)
    expected = slow_reranking(q, g, metric, k1, k2, weight)
    rerank = Reranking(k1, k2, weight)
    scores = rerank(torch.tensor(q), torch.tensor(g), metric)
    torch.testing.assert_close(
        scores.rows(torch.arange(len(q))),
        -torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-6,
    )  # fmt: skip
    if weight:  # without, images that share no neighbour tie but for rounding
        measured = evaluate(q, g, query_ids, gallery_ids, metric=metric, rerank=rerank)
        slow = slow_retrieval(expected, query_ids, gallery_ids)
        np.testing.assert_allclose(measured.cmc, slow["cmc"], atol=1e-12)
        for name in ("map_step", "map_trapezoid", "minp"):
            assert getattr(measured, name) == pytest.approx(slow[name], abs=1e-12), name


def test_it_is_off_unless_asked_for_and_helps_where_ids_cluster():
    data = clusters(3, queries=20, gallery=150)
    plain = evaluate(*data)
    assert evaluate(*data, rerank=None).map_step == plain.map_step
    assert evaluate(*data, rerank=Reranking()).map_step > plain.map_step + 0.02


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_the_whole_weight_on_the_distance_leaves_the_ranking(metric):
    data = clusters(4, queries=20, gallery=150)
    plain, weighted = (
        evaluate(*data, metric=metric, rerank=rerank)
        for rerank in (None, Reranking(original_weight=1))
    )
    np.testing.assert_array_equal(plain.cmc, weighted.cmc)
    assert plain.map_step == weighted.map_step


def test_neither_blocks_nor_gallery_order_move_a_rank(monkeypatch):
    q, g, query_ids, gallery_ids = clusters(5, queries=20, gallery=150)
    rerank = Reranking()
    expected, first = (
        work(q, g, query_ids, gallery_ids, rerank=rerank) for work in (evaluate, topk)
    )
    order = np.random.default_rng(0).permutation(150)
    moved = evaluate(q, g[order], query_ids, gallery_ids[order], rerank=rerank)
    assert moved.map_step == pytest.approx(expected.map_step, abs=1e-12)
    for module in (protocol, reranking):
        monkeypatch.setattr(module, "BLOCK_BYTES", 8 * 170 * 3)
    again = evaluate(q, g, query_ids, gallery_ids, rerank=rerank)
    assert again.map_step == expected.map_step
    small = topk(q, g, query_ids, gallery_ids, rerank=rerank)
    np.testing.assert_array_equal(small.indices, first.indices)
    np.testing.assert_array_equal(small.similarities, first.similarities)


def test_junk_takes_no_part_and_neither_do_own_cameras_matches_count():
    q, g, query_ids, gallery_ids = clusters(6, queries=12, gallery=90)
    junk = np.random.default_rng(1).normal(size=(30, 6))
    features, ids = np.concatenate([junk, g]), np.concatenate([np.full(30, -1), gallery_ids])
    with_junk = evaluate(q, features, query_ids, ids, rerank=Reranking())
    without = evaluate(q, g, query_ids, gallery_ids, rerank=Reranking())
    assert with_junk.map_step == without.map_step
    cameras = np.arange(12) % 2, np.arange(90) % 2
    found = topk(q, g, query_ids, gallery_ids, *cameras, rerank=Reranking(), k=40)
    for n, row in enumerate(found.indices):
        own = (gallery_ids == query_ids[n]) & (cameras[1] == cameras[0][n])
        assert not own[row[row >= 0]].any()
    assert (found.similarities[found.indices >= 0] <= 0).all()


def test_images_that_all_coincide_follow_gallery_order():
    same = np.ones((30, 4))
    found = topk(same[:2], same, [1, 1], [1] * 30, rerank=Reranking(), metric="euclidean", k=30)
    assert np.isfinite(found.similarities).all()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"k1": 0}, ["k1 and k2", "got 0 and 6"]),
        ({"k2": 0}, ["k1 and k2", "got 20 and 0"]),
        ({"original_weight": 1.5}, ["original_weight", "[0, 1]", "1.5"]),
        ({"original_weight": float("nan")}, ["original_weight", "nan"]),
    ],
)
def test_settings_out_of_range_are_refused(settings, words):
    with pytest.raises(UserError) as caught:
        Reranking(**settings)
    assert all(word in str(caught.value) for word in words)


def test_too_few_images_are_refused():
    data = clusters(7, queries=4, gallery=16)
    with pytest.raises(UserError, match=r"needs 21 images; got 20.*lower k1"):
        evaluate(*data, rerank=Reranking())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")
def test_a_gpu_gives_the_same():
    q, g, query_ids, gallery_ids = clusters(8, queries=40, gallery=300)
    on_cpu = evaluate(q, g, query_ids, gallery_ids, rerank=Reranking())
    q, g = torch.tensor(q).cuda(), torch.tensor(g).cuda()
    on_gpu = evaluate(q, g, query_ids, gallery_ids, rerank=Reranking())
    assert on_gpu.map_step == pytest.approx(on_cpu.map_step, abs=1e-12)
