"""Comparisons and claims on scores with a known answer; the lot; pictures that may be shown."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from synthetic_records import write_run
from tiny_images import write_tiny_set

from book.companion.attended import chosen, pictures, text
from book.companion.attended.scores import Pair, above_uniform, compare_scores, load_pairs
from data_prep import embedded
from dreal_lib import records
from dreal_lib.data.boxes import rectangles
from dreal_lib.errors import UserError

N = 200
LABELS = np.repeat(np.arange(10), N // 10).astype(np.int16)
SETTINGS = {
    "layer": "layer4[-1]",
    "method": "gradcam",
    "threshold": 0.5,
    "steps": None,
    "image_size": 48,
    "rows": [0, 16, 32],
    "columns": [0, 16, 32],
    "traced": True,
    "objects": N,
    "masks": N,
}


def arrays(shift=0.0, seed=0, objects=True):
    generator = np.random.default_rng(seed)
    found = {
        "labels": LABELS,
        "right": generator.random(N) < 0.6,
        "cam/maps": generator.random((N, 3, 3)).astype(np.float16),
        "cam/settings": np.array(json.dumps(SETTINGS | ({} if objects else {"objects": 0}))),
        "localization/area": generator.random(N).astype(np.float16),
    }
    if objects:
        base = np.random.default_rng(99).random(N) * 0.5
        for score in ("pointing", "energy", "iou", "completeness"):
            noise = generator.normal(0, 0.02, N)
            found[f"localization/{score}"] = (base + shift + noise).astype(np.float16)
        found["cam/object_share"] = (np.arange(N) / N).astype(np.float16)
        found["cam/box_share"] = np.full(N, 0.25, dtype=np.float16)
        found["cam/boxes"] = np.tile(np.array([2, 3, 20, 30], dtype=np.int16), (N, 1))
    return found


@pytest.fixture
def record(tmp_path):
    return write_run(tmp_path / "records")


@pytest.fixture
def make_pair(record):
    """Function: pair of a seed whose reinforced run's scores are shifted."""

    def make(shift=0.0, seed=0, objects=True):
        before = arrays(0.0, 2 * seed, objects)
        return Pair(seed, "recorded", record, before, arrays(shift, 2 * seed + 1, objects))

    return make


def by_score(pairs, within=None):
    return {c.score: c for c in compare_scores(pairs, within)}


def test_one_seed_is_compared_image_by_image(make_pair):
    pair = make_pair(0.05)
    found = by_score([pair])["energy"].by_seed[0]
    before, after = (
        a["localization/energy"].astype(float) for a in (pair.baseline, pair.reinforced)
    )
    test = stats.ttest_rel(after, before)
    interval = test.confidence_interval(0.95)
    assert found.difference.mean == pytest.approx((after - before).mean())
    assert found.difference.low == pytest.approx(interval.low)
    assert found.difference.high == pytest.approx(interval.high)
    assert found.p == pytest.approx(stats.wilcoxon(after, before).pvalue)
    assert (found.difference.n, found.undefined) == (N, 0)


def test_images_undefined_in_either_run_are_left_out_of_both(make_pair):
    pair = make_pair(0.05)
    pair.baseline["localization/iou"][:3] = np.nan
    pair.reinforced["localization/iou"][2:7] = np.nan
    found = by_score([pair])["iou"].by_seed[0]
    assert (found.difference.n, found.undefined) == (N - 7, 7)
    kept = pair.baseline["localization/iou"][7:].astype(float)
    assert found.baseline == pytest.approx(kept.mean())


def test_over_seeds_the_seeds_decide(make_pair):
    pairs = [make_pair(0.05, 0), make_pair(0.06, 1), make_pair(0.04, 2)]
    found = by_score(pairs)["energy"]
    means = [s.difference.mean for s in found.by_seed.values()]
    assert found.deciding.n == 3
    assert found.deciding.mean == pytest.approx(np.mean(means))
    half = stats.t.ppf(0.975, 2) * np.std(means, ddof=1) / np.sqrt(3)
    assert found.deciding.high - found.deciding.mean == pytest.approx(half)


def test_scores_within_a_group_are_of_its_images_alone(make_pair):
    pair = make_pair(0.05)
    half = np.arange(N) < N // 2
    pair.reinforced["localization/energy"][~half] = 0
    assert by_score([pair], half)["energy"].deciding.verdict == "higher"
    assert by_score([pair], ~half)["energy"].deciding.verdict == "lower"


def test_equal_runs_have_no_p_and_no_claim(make_pair):
    pair = make_pair()
    same = replace(pair, reinforced=pair.baseline)
    found = compare_scores([same])
    assert np.isnan(found[0].by_seed[0].p)
    assert found[0].deciding.verdict == "untried"


def test_the_table_has_a_line_a_seed_and_one_over_them(make_pair):
    pairs = [make_pair(0.05, 0), make_pair(0.06, 1)]
    table = text.score_table(compare_scores(pairs), pairs)
    assert [row[1] for row in table.rows] == ["0", "1", "all"] * 5
    assert table.rows[0][-1] == str(N)
    assert table.rows[2][-1] == "2 seeds"
    assert all(len(row) == len(table.columns) for row in table.rows)


def above_share(make_pair, shifts, seed=0):
    """A pair whose pointing and energy exceed the box's share by these means, image by image."""
    pair = make_pair(seed=seed)
    swing = np.tile([-0.125, 0.125], N // 2)
    for arrays, shift in zip((pair.baseline, pair.reinforced), shifts, strict=True):
        for score in ("pointing", "energy"):
            arrays[f"localization/{score}"] = 0.25 + shift + swing
    return pair


def test_better_than_a_uniform_map_where_the_interval_lies_above_it(make_pair):
    pair = above_share(make_pair, (0.0, 0.0625))
    pair.baseline["localization/energy"] += 0.0625
    pair.baseline["cam/box_share"][:2] = np.nan  # no known object
    found = above_uniform([pair])
    one = found["pointing"]["reinforced"]
    test = stats.ttest_1samp(np.tile([-0.0625, 0.1875], N // 2 - 1), 0).confidence_interval(0.95)
    assert (one.mean, one.low, one.high, one.n) == pytest.approx(
        (0.0625, test.low, test.high, N - 2)
    )
    (said,) = text.uniform_sentences([pair])
    assert f"(95 % interval \N{MINUS SIGN}0.018 to +0.018, n = {N - 2}), not significant" in said
    assert f"(95 % interval +0.045 to +0.080, n = {N - 2}), significantly better" in said
    assert "cannot rank" not in said


def test_over_seeds_a_uniform_map_is_beaten_by_the_seeds_alone(make_pair):
    shifts = ((-0.03125, 0.0625), (0.03125, 0.0625 + 2**-9), (0.0, 0.0625 - 2**-9))
    pairs = [above_share(make_pair, shift, seed) for seed, shift in enumerate(shifts)]
    for pair in pairs:
        pair.reinforced["localization/pointing"] -= 0.0625
    (said,) = text.uniform_sentences(pairs)
    assert "By pointing game neither network beats such a map" in said
    assert above_uniform(pairs)["energy"]["reinforced"].n == 3
    assert above_uniform(pairs)["energy"]["reinforced"].verdict == "higher"


def test_a_set_without_boxes_says_so_everywhere(make_pair):
    pairs = [make_pair(objects=False)]
    scores = compare_scores(pairs)
    assert [c.score for c in scores] == ["area"]
    assert "without boxes and masks" in text.availability(pairs)[-1]
    assert text.uniform_sentences(pairs) == []
    groups = chosen.scores_by_size(pairs)
    assert groups == {}
    assert "without boxes" in str(text.group_table(groups, pairs).rows[0][0])
    grid = chosen.size_grid(pairs)
    assert tuple(grid.groups) == chosen.OUTCOMES


def test_no_pair_and_old_records_say_so(make_pair):
    assert "no pair" in text.availability(())[0]
    assert chosen.outcome_grid(()) is None
    assert chosen.size_grid(()) is None
    assert "no pair" in str(text.score_table([], ()).rows[0][0])
    pair = make_pair()
    del pair.reinforced["cam/maps"]
    assert "hold no maps" in text.availability([pair])[0]
    assert chosen.outcome_grid([pair]) is None


def test_scores_of_resized_maps_are_named(make_pair):
    """Some by the settings; all of runs that did not keep where their cells lie."""
    pair, old = make_pair(), make_pair(seed=1)
    assert pair.resized == ()
    assert "at pixels 0, 16, 32," in text.availability([pair])[2]
    assert "at pixels 7.5, 23.5, 39.5" in text.availability([pair])[2]
    some = SETTINGS | {"resized": ["area"]}
    pair.reinforced["cam/settings"] = np.array(json.dumps(some))
    none = {k: v for k, v in SETTINGS.items() if k not in ("rows", "columns", "traced")}
    old.baseline["cam/settings"] = np.array(json.dumps(none))
    del pair.__dict__["resized"]
    assert (pair.resized, old.resized) == (("area",), old.scores)
    names = [str(row[0]) for row in text.score_table(compare_scores([pair]), [pair]).rows]
    assert [name[:-2] for name in names if "resized" in name] == ["attended area, map resized"]
    assert "attended area" in text.availability([pair])[3]
    assert "did not keep where" in text.availability([old])[2]


def test_empty_maps_are_counted(make_pair):
    pair = make_pair()
    pair.baseline["cam/maps"][:4] = 0
    assert f"4 of {2 * N} maps are zero" in " ".join(text.availability([pair]))


def stored(root, recipe, labels, seed=0):
    record = write_run(root, f"table_1/se_resnet50_{recipe}", seed=seed)
    path = records.record_path(root, "smoke", None, record.recipe, seed)
    made = {"right": labels > 0, "labels": labels.astype(np.int16)}
    file = records.write_figure_data(records.companion_path(path, "figure_data"), made)
    record = record.model_copy(
        update={"files": record.files.model_copy(update={"figure_data": file})}
    )
    records.write_record(record, path)
    return records.StoredRecord(record, path)


def test_runs_are_paired_by_seed(tmp_path):
    labels = np.arange(3)
    baseline = [stored(tmp_path, "baseline", labels, seed) for seed in (2, 0)]
    reinforced = [stored(tmp_path, "reinforced", labels, seed) for seed in (2, 1, 0)]
    assert [p.seed for p in load_pairs(baseline, reinforced)] == [0, 2]
    assert load_pairs([], reinforced) == ()


def test_runs_on_other_images_are_refused(tmp_path):
    baseline = stored(tmp_path, "baseline", np.arange(3))
    reinforced = stored(tmp_path, "reinforced", np.arange(4))
    with pytest.raises(UserError, match="not evaluated on the same images"):
        load_pairs([baseline], [reinforced])


def test_outcome_groups_by_hand(make_pair):
    pair = make_pair()
    pair.baseline["right"] = np.array([True, True, False, False])
    pair.reinforced["right"] = np.array([True, False, True, False])
    groups = chosen.outcome_groups(pair)
    assert {name: np.flatnonzero(g).tolist() for name, g in groups.items()} == {
        "right in both": [0],
        "right in reinforced alone": [2],
        "right in baseline alone": [1],
    }


def test_size_groups_are_quarters_and_leave_out_the_unknown(make_pair):
    pair = make_pair()
    share = np.arange(N) / N
    share[100] = np.nan
    pair.baseline["cam/object_share"] = share
    groups = chosen.size_groups(pair)
    sizes = [int(member.sum()) for member in groups.values()]
    assert sizes == [50, 99, 50]
    assert np.add.reduce(list(groups.values())).max() == 1
    assert np.flatnonzero(groups["smallest quarter"]).max() < 60


def test_the_lot_draws_distinct_classes_from_the_group_and_repeats_itself():
    generator = np.random.default_rng(0)
    groups = {"some": generator.random(N) < 0.4, "none": np.zeros(N, dtype=bool)}
    first = chosen.draw(groups, LABELS)
    assert first == chosen.draw(groups, LABELS)
    assert first != chosen.draw(groups, LABELS, seed=1)
    assert first["none"] == ()
    assert all(groups["some"][i] for i in first["some"])
    after = chosen.draw(groups, LABELS, skipped=4)
    both = [LABELS[i] for i in (*first["some"], *after["some"])]
    assert len(set(both)) == len(both) == 8
    assert len(chosen.draw(groups, LABELS, count=50)["some"]) == 10


def test_every_image_of_a_group_can_be_drawn():
    groups = {"some": np.ones(6, dtype=bool)}
    drawn = {chosen.draw(groups, np.zeros(6), seed=s)["some"][0] for s in range(80)}
    assert drawn == set(range(6))


def test_the_rule_is_generated_from_what_was_done(make_pair):
    grid = chosen.outcome_grid([make_pair()], skipped=3)
    assert "places 4 to 7" in grid.rule
    assert f"seed {chosen.DRAW_SEED}" in grid.rule
    assert sum(len(shown) for shown in grid.groups.values()) == 12
    item = grid.groups["right in both"][0]
    assert item.box == (2, 3, 20, 30)
    assert item.title.startswith("class ")  # nothing else is known of a made-up set
    assert item.pixels is None
    assert "may not be passed on" in grid.source
    assert item.title in grid.titles


def run_on(record, name, labels, **settings):
    """The record, as if made on a set of that name."""
    data = record.data.model_copy(update={"name": name, "val_images": len(labels)})
    used = {"image_size": 16, "resize": 20, "decoded_cache": True, "classes": None} | settings
    return record.model_copy(update={"data": data, "settings": record.settings | used})


def test_a_readers_own_data_are_shown(record, tmp_path):
    root = write_tiny_set(tmp_path / "own")
    labels = np.repeat([0, 1, 2], 4)
    found = pictures.find_pictures(run_on(record, "own", labels), labels, [0, 11], root)
    assert {i: p.shape for i, p in found.images.items()} == {0: (16, 16, 3), 11: (16, 16, 3)}
    assert found.images[0][..., 0].mean() > found.images[0][..., 2].mean()  # class 0 is reddish
    assert found.titles == ("ant", "bee", "cat")


def test_other_data_than_the_runs_are_refused(record, tmp_path):
    root = write_tiny_set(tmp_path / "own")
    labels = np.repeat([0, 1, 2], 5)
    with pytest.raises(UserError, match="does not hold the 15 validation images of own"):
        pictures.find_pictures(run_on(record, "own", labels), labels, [0], root)


def test_checksums_that_give_another_fingerprint_are_noticed(record, tmp_path):
    root = write_tiny_set(tmp_path / "own")
    files = [p.relative_to(root).as_posix() for p in root.rglob("*.*")]
    (root / "SHA256SUMS").write_text("".join(f"{'0' * 64}  {file}\n" for file in files))
    labels = np.repeat([0, 1, 2], 4)
    with pytest.raises(UserError, match="does not hold"):
        pictures.find_pictures(run_on(record, "own", labels), labels, [0], root)


def test_embedded_images_are_rendered_where_there_are_none(record, tmp_path):
    labels = np.arange(10)
    made = run_on(record, "embedded", labels, image_size=64, resize=64)
    absent = tmp_path / "absent"
    found = pictures.find_pictures(made, labels, [3], prepared=absent)
    root = embedded.prepare(tmp_path / "embedded", train_images=10, val_images=10, workers=1)
    from dreal_lib.data.batches import Crops
    from dreal_lib.data.boxes import open_objects
    from dreal_lib.data.images import open_image_set, read_image

    split = open_image_set(root).val
    assert np.array_equal(found.images[3], np.asarray(read_image(root / split.files[3])))
    boxes = rectangles(open_objects(split, Crops(64, 64)).regions(0, 10).box).numpy()
    assert pictures.find_pictures(made, labels, [3], boxes=boxes, prepared=absent).images
    other = pictures.find_pictures(made, labels, [3], boxes=boxes + 1, prepared=absent)
    assert not other.images
    assert "maps stand alone" in other.source
