"""Retrieval's ranks and measures against loops, hand-worked values and scikit-learn's own."""

import numpy as np
import pytest
import torch
from slow_reference import slow_ranking, slow_retrieval

from dreal_lib.errors import UserError
from dreal_lib.retrieval import protocol
from dreal_lib.retrieval.ranking import evaluate, topk
from dreal_lib.retrieval.similarity import Similarity, nearest

MEASURES = ("map_step", "map_trapezoid", "minp")


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def draw(seed: int, ties: bool, cameras: bool, queries: int = 23, gallery: int = 90) -> dict:
    """Few ids, junk, distractors (id 0, no query), a query id that the gallery lacks.

    With ties: entries of +-1 only, so that cosines are multiples of 1/4, exact in any arithmetic.
    """
    rng = np.random.default_rng(seed)
    if ties:
        q, g = (rng.integers(0, 2, (n, 4)) * 2.0 - 1 for n in (queries, gallery))
    else:
        q, g = (rng.normal(size=(n, 6)) for n in (queries, gallery))
    query_ids = rng.integers(1, 9, queries)
    query_ids[3] = 77
    gallery_ids = rng.choice([-1, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8], gallery)
    own = others = None
    if cameras:
        own, others = rng.integers(0, 3, queries), rng.integers(0, 3, gallery)
        others[gallery_ids == query_ids[0]] = own[0]  # its matches are all its own camera's
    return dict(
        query_features=q, gallery_features=g, query_ids=query_ids, gallery_ids=gallery_ids,
        query_cameras=own, gallery_cameras=others,
    )  # fmt: skip


def slow(data: dict, metric: str) -> dict:
    distances = [slow_ranking(q, data["gallery_features"], metric) for q in data["query_features"]]
    rest = {name: value for name, value in data.items() if "features" not in name}
    return slow_retrieval(distances, **rest)


def assert_same(result, expected) -> None:
    for name in ("cmc", "queries", "first_ranks", "average_precisions"):
        np.testing.assert_array_equal(getattr(result, name), getattr(expected, name))
    for name in (*MEASURES, "rank1", "rank5", "rank10", "valid_queries"):
        assert getattr(result, name) == getattr(expected, name), name


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("cameras", [False, True])
@pytest.mark.parametrize("ties", [False, True])
def test_against_loops(metric, cameras, ties):
    for seed in range(3):
        data = draw(seed, ties, cameras)
        result, expected = evaluate(**data, metric=metric), slow(data, metric)
        cmc = expected["cmc"][: len(result.cmc)]
        np.testing.assert_allclose(result.cmc, cmc, rtol=0, atol=1e-12)
        assert (result.rank1, result.rank5, result.rank10) == tuple(result.cmc[[0, 4, 9]])
        for name in MEASURES:
            assert getattr(result, name) == pytest.approx(expected[name], abs=1e-12), name
        assert result.valid_queries == expected["valid_queries"] < len(data["query_ids"])
        assert result.queries.tolist() == expected["queries"]
        assert result.first_ranks.tolist() == expected["first_ranks"]
        precisions = expected["average_precisions"]
        np.testing.assert_allclose(result.average_precisions, precisions, rtol=0, atol=1e-12)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("ties", [False, True])
def test_first_images_against_loops(metric, ties):
    data = draw(5, ties, cameras=True)
    data["gallery_ids"][7:] = -1  # fewer are left than asked for
    for k in (1, 3, 9):
        found, rankings = topk(**data, metric=metric, k=k), slow(data, metric)["rankings"]
        for q, ranking in enumerate(rankings):
            expected = ranking[:k]
            assert found.indices[q].tolist() == expected + [-1] * (k - len(expected))
            distances = slow_ranking(data["query_features"][q], data["gallery_features"], metric)
            shown = [(1 - distances[g]) if metric == "cosine" else -distances[g] for g in expected]
            np.testing.assert_allclose(found.similarities[q][: len(expected)], shown, atol=1e-6)
            assert np.isnan(found.similarities[q][len(expected) :]).all()
            same = [data["gallery_ids"][g] == data["query_ids"][q] for g in expected]
            assert found.right[q].tolist() == same + [False] * (k - len(expected))


def test_values_worked_out_by_hand():
    # One query at 0 on a line; gallery at 1..6, right at ranks 1, 3 and 6.
    #   precision at the matches  1/1, 2/3, 3/6
    #   step sum                  (1 + 2/3 + 1/2) / 3                               = 13/18
    #   precision just before     1 (by definition), 1/2 at rank 2, 2/5 at rank 5
    #   trapezoid                 ((1+1)/2 + (1/2+2/3)/2 + (2/5+1/2)/2) / 3
    #                           = (1 + 7/12 + 9/20) / 3 = (122/60) / 3              = 61/90
    #   mINP                      3 matches / rank 6                                = 1/2
    line = np.arange(1.0, 7.0)[:, None]
    result = evaluate(np.zeros((1, 1)), line, [4], [4, 5, 4, 5, 5, 4], metric="euclidean")
    assert result.map_step == pytest.approx(13 / 18, abs=1e-15)
    assert result.map_trapezoid == pytest.approx(61 / 90, abs=1e-15)
    assert result.minp == 0.5
    assert result.cmc.tolist() == [1.0] * 6
    # A second query at 7 sees the line from the other end; its match is at 2, hence rank 5:
    #   step 1/5, trapezoid (0 + 1/5) / 2 = 1/10, INP 1/5, no match among the first 4.
    result = evaluate(np.array([[0.0], [7.0]]), line, [4, 9], [4, 9, 4, 5, 5, 4],
                      metric="euclidean")  # fmt: skip
    assert result.map_step == pytest.approx((13 / 18 + 1 / 5) / 2)
    assert result.map_trapezoid == pytest.approx((61 / 90 + 1 / 10) / 2)
    assert result.minp == pytest.approx((1 / 2 + 1 / 5) / 2)
    assert result.cmc.tolist() == [0.5] * 4 + [1.0] * 2
    assert (result.rank1, result.rank5, result.rank10) == (0.5, 1.0, 1.0)


def test_a_query_leaves_out_its_own_cameras_images_of_its_id_alone():
    # Nearest first: own id and camera (left out), other id of the same camera (kept), a match.
    line = np.array([[1.0], [2.0], [3.0]])
    arguments = (np.zeros((1, 1)), line, [4], [4, 5, 4])
    with_cameras = evaluate(*arguments, [0], [0, 0, 1], metric="euclidean")
    assert with_cameras.map_step == 0.5
    assert evaluate(*arguments, metric="euclidean").map_step == pytest.approx((1 + 2 / 3) / 2)


def test_the_step_sum_and_the_trapezoid_are_scikit_learns():
    metrics = pytest.importorskip("sklearn.metrics")
    data = draw(1, ties=False, cameras=False)
    kept = data["gallery_ids"] >= 0
    step, trapezoid = [], []
    for q, identity in zip(data["query_features"], data["query_ids"], strict=True):
        right = data["gallery_ids"][kept] == identity
        if right.any():
            scores = -np.array(slow_ranking(q, data["gallery_features"][kept], "euclidean"))
            step.append(metrics.average_precision_score(right, scores))
            precision, recall, _ = metrics.precision_recall_curve(right, scores)
            trapezoid.append(metrics.auc(recall, precision))
    result = evaluate(**data, metric="euclidean")
    assert result.map_step == pytest.approx(np.mean(step), abs=1e-12)
    assert result.map_trapezoid == pytest.approx(np.mean(trapezoid), abs=1e-12)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_gallery_order_counts_only_among_ties(metric):
    rng = np.random.default_rng(0)
    data = draw(2, ties=False, cameras=True)
    order = rng.permutation(len(data["gallery_ids"]))
    moved = {name: value[order] if "gallery" in name else value for name, value in data.items()}
    assert_same(evaluate(**moved, metric=metric), evaluate(**data, metric=metric))
    same = dict(query_features=[[1.0, 2.0]], gallery_features=[[3.0, 1.0]] * 5, query_ids=[1])
    for place in range(5):  # all tie: the match's rank is its place
        ids = (np.arange(5) == place).astype(int)
        assert evaluate(**same, gallery_ids=ids, metric=metric).map_step == 1 / (place + 1)


def test_monotone_changes_of_the_distances_change_nothing():
    data = draw(4, ties=False, cameras=True)
    unit = {
        name: value / np.linalg.norm(value, axis=1, keepdims=True) if "features" in name else value
        for name, value in data.items()
    }
    cosine = evaluate(**unit)
    assert_same(evaluate(**unit, metric="euclidean"), cosine)  # d^2 = 2 - 2 cos
    assert_same(evaluate(**data), cosine)  # cosine knows no length
    for factor in (1e-3, 3e4):
        scaled = {n: v * factor if "features" in n else v for n, v in data.items()}
        assert_same(evaluate(**scaled), cosine)
        assert_same(evaluate(**scaled, metric="euclidean"), evaluate(**data, metric="euclidean"))


def test_duplicated_queries_change_nothing_but_their_number():
    data = draw(4, ties=False, cameras=True)
    twice = {n: np.concatenate([v, v]) if "query" in n else v for n, v in data.items()}
    once, again = evaluate(**data), evaluate(**twice)
    assert again.valid_queries == 2 * once.valid_queries
    np.testing.assert_allclose(again.cmc, once.cmc, atol=1e-15)
    assert again.map_step == pytest.approx(once.map_step, abs=1e-15)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("offset", [0.0, 1e3])
def test_neither_blocks_nor_places_nor_threads_move_a_bit(metric, offset, monkeypatch):
    torch.manual_seed(0)
    half = torch.randn(211, 70) + offset  # odd sizes: a library's products differ at the edges
    gallery, queries = torch.cat([half, half.flip(0)]), torch.randn(37, 70) + offset
    similarity = Similarity(queries, gallery, metric)
    assert len(similarity.bits) == (2 if metric == "euclidean" and offset else 1)
    everything = similarity.rows(torch.arange(37))
    assert torch.equal(everything[:, :211], everything[:, 211:].flip(1))  # duplicates tie
    for rows in (1, 2, 5, 36):
        index = torch.arange(37).split(rows)
        assert torch.equal(torch.cat([similarity.rows(i) for i in index]), everything)
    torch.set_num_threads(2)
    assert torch.equal(Similarity(queries, gallery, metric).rows(torch.arange(37)), everything)
    ids = torch.randint(20, (37,)), torch.randint(20, (422,))
    expected = evaluate(queries, gallery, *ids, metric=metric)
    first = topk(queries, gallery, *ids, metric=metric)
    for bytes_ in (1, 8 * 422 * 3):
        monkeypatch.setattr(protocol, "BLOCK_BYTES", bytes_)
        assert_same(evaluate(queries, gallery, *ids, metric=metric), expected)
        np.testing.assert_array_equal(
            topk(queries, gallery, *ids, metric=metric).indices, first.indices
        )


@pytest.mark.parametrize("offset", [0.0, 300.0])
def test_scores_are_those_of_float64(offset):
    """Offset features are the hard case of |q|^2 + |g|^2 - 2 q.g, hence the second piece."""
    torch.manual_seed(0)
    q, g = (torch.randn(n, 64, dtype=torch.float64) + offset for n in (8, 50))
    for metric in ("cosine", "euclidean"):
        similarity, index = Similarity(q, g, metric), torch.arange(8)
        shown = similarity.shown(index, similarity.rows(index))
        if metric == "cosine":
            exact = torch.nn.functional.cosine_similarity(q[:, None], g, dim=2)
        else:
            exact = -(q[:, None] - g).square().sum(2).sqrt()
        tolerance = 1e-7 if metric == "cosine" else 1e-5 if not offset else 1e-6
        torch.testing.assert_close(shown, exact, rtol=0, atol=tolerance)
        pairs = similarity.pairs(torch.tensor([3, 1]), torch.tensor([9, 40]))
        assert torch.equal(pairs, similarity.rows(index)[[3, 1], [9, 40]])


def test_parallel_vectors_tie_and_the_tiny_are_not_zero():
    gallery = np.array([[3.0, 6.0], [2e-160, 1e-160], [1.0, 2.0], [1e-200, 2e-200], [7.0, 14.0]])
    first = topk(np.array([[2.0, 4.0]]), gallery, [1], [1] * 5, k=5)
    assert first.indices.tolist() == [[0, 2, 3, 4, 1]]
    np.testing.assert_allclose(first.similarities[0, :4], 1, atol=1e-7)


def test_the_nearest_follow_a_stable_order():
    torch.manual_seed(0)
    for levels in (2, 5, 10**6):
        scores = torch.randint(levels, (30, 40)).double()
        order = scores.argsort(dim=1, descending=True, stable=True)
        for k in (1, 7, 39, 40, 60):
            assert torch.equal(nearest(scores, k), order[:, :k])


def test_any_form_of_input_gives_the_same():
    data = draw(6, ties=False, cameras=True)
    data = {n: v.astype(np.float32) if "features" in n else v for n, v in data.items()}
    expected = evaluate(**data)
    tensors = {name: torch.tensor(value) for name, value in data.items()}
    tensors["gallery_features"].requires_grad_()
    assert_same(evaluate(**tensors), expected)
    assert_same(evaluate(**{name: value.tolist() for name, value in data.items()}), expected)
    before = data["gallery_features"].copy()
    evaluate(**data)
    np.testing.assert_array_equal(data["gallery_features"], before)
    assert evaluate(**{n: v.half() if "features" in n else v for n, v in tensors.items()})


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("ties", [False, True])
def test_a_gpu_gives_the_same_bits(metric, ties):
    data = draw(6, ties, cameras=True, queries=300, gallery=2000)
    cuda = {n: torch.tensor(v).cuda() if "features" in n else v for n, v in data.items()}
    assert_same(evaluate(**cuda, metric=metric), evaluate(**data, metric=metric))
    on_gpu, on_cpu = topk(**cuda, metric=metric), topk(**data, metric=metric)
    np.testing.assert_array_equal(on_gpu.indices, on_cpu.indices)


GOOD = dict(
    query_features=np.eye(3), gallery_features=np.eye(3), query_ids=[1, 2, 3],
    gallery_ids=[1, 2, 3],
)  # fmt: skip
HOLE = np.array([[1.0, 0, 0], [0, np.nan, 0], [0, 0, np.inf]])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"query_features": HOLE}, ["query_features", "NaN", "2 of 3 rows", "first row 1"]),
        ({"gallery_features": np.eye(3) * 1e200}, ["gallery_features", "beyond 1e100"]),
        ({"gallery_features": np.diag([1.0, 0, 1])}, ["zero vectors", "1 of 3", "first row 1"]),
        ({"gallery_features": np.eye(3)[:, :2] + 1}, ["as many dimensions", "3 and 2"]),
        ({"query_features": np.ones(3)}, ["query_features", "(images, dimensions)", "(3,)"]),
        ({"query_features": np.ones((0, 3))}, ["query_features", "neither 0", "(0, 3)"]),
        ({"gallery_features": np.ones((3, 0))}, ["gallery_features", "neither 0", "(3, 0)"]),
        ({"query_features": np.eye(3) + 1j}, ["real numbers", "complex"]),
        ({"query_features": [["a"]]}, ["query_features", "array or tensor of numbers"]),
        ({"query_ids": [1, 2]}, ["query_ids", "each of the 3", "(2,)"]),
        ({"gallery_ids": [[1, 2, 3]]}, ["gallery_ids", "each of the 3", "(1, 3)"]),
        ({"query_ids": [1.0, 2.0, 3.0]}, ["query_ids", "whole numbers", "float64", "unique"]),
        ({"gallery_ids": ["a", "b", "c"]}, ["gallery_ids", "whole numbers"]),
        ({"metric": "cosin"}, ["metric 'cosin'", "did you mean 'cosine'", "euclidean"]),
        ({"query_cameras": [1, 2, 3]}, ["both sides or neither", "gallery_cameras is missing"]),
        ({"gallery_cameras": [1, 2, 3]}, ["both sides or neither", "query_cameras is missing"]),
        ({"query_cameras": [1, 2], "gallery_cameras": [1, 2, 3]}, ["query_cameras", "(2,)"]),
        ({"query_ids": [1, -1, -1]}, ["junk", "2 of 3 queries", "leave them out"]),
        ({"gallery_ids": [-1, -1, -1]}, ["every gallery image is junk"]),
        ({"gallery_ids": [7, 8, 9]}, ["no query has a match", "none of the 3 query ids"]),
        (
            {"query_cameras": [0, 0, 0], "gallery_cameras": [0, 0, 0]},
            ["no query has a match that another camera took", "leave query_cameras"],
        ),
    ],
)
def test_bad_input_is_named_in_one_line(change, words):
    with pytest.raises(UserError) as caught:
        evaluate(**{**GOOD, **change})
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_zero_vectors_are_points_like_others_under_euclidean():
    features = np.zeros((3, 3))
    result = evaluate(features, features, [1, 2, 3], [1, 2, 3], metric="euclidean")
    assert result.map_step == pytest.approx((1 + 1 / 2 + 1 / 3) / 3)


def test_first_images_ask_for_one_at_least_and_need_no_match():
    with pytest.raises(UserError, match="k must be at least 1; got 0"):
        topk(**GOOD, k=0)
    found = topk(**{**GOOD, "gallery_ids": [7, 8, 9]}, k=2)
    assert found.indices.tolist() == [[0, 1], [1, 0], [2, 0]]
    assert not found.right.any()


@pytest.mark.parametrize(
    "form",
    [
        lambda x: x > -0.5,
        lambda x: (1000 + 100 * x).astype(np.uint16),
        lambda x: torch.tensor(1000 + 100 * x).to(torch.uint16),
        lambda x: torch.tensor(x).to(torch.float8_e4m3fn),
        lambda x: torch.tensor(x).to_sparse(),
        lambda x: (100 * x).astype(np.int8),
    ],
    ids=["bool", "uint16", "uint16 tensor", "float8", "sparse", "int8"],
)
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_any_type_of_number_gives_the_score_of_float64(form, metric):
    data = draw(7, ties=False, cameras=True)
    for name in ("query_features", "gallery_features"):
        data[name] = form(data[name])
    exact = dict(data)
    for name in ("query_features", "gallery_features"):
        value = data[name]
        dense = value.to_dense() if isinstance(value, torch.Tensor) else torch.tensor(value)
        exact[name] = dense.double()
    assert_same(evaluate(**data, metric=metric), evaluate(**exact, metric=metric))


def test_sparse_features_of_another_library_are_one_line():
    sparse = pytest.importorskip("scipy.sparse")
    with pytest.raises(UserError, match="query_features"):
        evaluate(**{**GOOD, "query_features": sparse.eye(3)})
