"""Audits of critics on their page: means over images, maps and runs, and the plan's words."""

import numpy as np
import pytest
from synthetic_records import write_run

from book.companion.critics import audits, dead
from dreal_lib import records
from dreal_lib.comparison.paired import difference_of
from dreal_lib.records import write_figure_data
from dreal_lib.records.audits import AUDITED, audit_path, weights_of

SE = "evidence/se_resnet38_reinforced"
SCALE = {"profile": "desktop", "variant": "evidence"}


def write_audit(root, seed, cosine, recipe=SE):
    """One map's cosines are given, two images; the other map has none."""
    write_run(root, recipe, seed=seed, network="se_resnet38", method="reinforced", **SCALE)
    record = records.record_path(root, *SCALE.values(), recipe, seed)
    found = {
        "maps": np.array(["layer1.0", "layer4.2"]),
        "right": np.array([True, False]),
        "cosine_reward": np.array([[cosine, np.nan], [np.nan, np.nan]]),
        "cosine_log_p": np.array([[0.9, 1.0], [np.nan, np.nan]]),
        "gate_sensitivity": np.array([[0.1, 0.0], [0.3, 0.0]]),
        "quality_norm": np.array([1.0, 0.0]),
        "classification_norm": np.array([2.0, 4.0]),
    }
    steps = np.array([[[0.01, 0.02]] * 2, [[0.0, 0.0]] * 2, [[0.1, 0.3]] * 2])
    found |= {"reward_change": steps, "log_p_change": steps}
    for name in audits.PER_MAP:
        found.setdefault(name, np.array([0.5, 0.7]))
    arrays = {f"{epoch}/{name}": a for epoch in (0, 9) for name, a in found.items()}
    write_figure_data(audit_path(record), arrays | {AUDITED: np.array(weights_of(record))})


def loaded(root):
    found = audits.compare_audited(records.find_records(root), *SCALE.values())
    return audits.load_audits(found.runs)


def test_audits_are_means_over_the_images_that_have_a_value(tmp_path):
    write_audit(tmp_path, 0, 0.02)
    found = loaded(tmp_path).query("epoch == 9").set_index("map")
    assert found.loc["layer1.0", "cosine_reward"] == pytest.approx(0.02)
    assert np.isnan(found.loc["layer4.2", "cosine_reward"])
    assert found.loc["layer1.0", "sensitivity"] == pytest.approx(0.2)
    assert found.loc["layer4.2", "reward_change_true"] == pytest.approx(0.3)
    assert list(found["quality_over_classification"]) == [0.5, 0.0]
    assert set(found["right"]) == {0.5}


@pytest.mark.parametrize(
    ("cosines", "word"),
    [
        ([0.01, -0.01, 0.0], "not aligned"),
        ([0.5, 0.52, 0.48], "aligned"),
        ([0.5, -0.5, 0.1], "undecided"),
        ([0.01, 0.01], "not judged yet (2 of 3 runs)"),
    ],
)
def test_the_plans_words_for_a_cosine(cosines, word):
    assert audits.alignment(difference_of(cosines)) == word


def test_sentences_and_table_from_three_runs(tmp_path):
    for seed, cosine in enumerate([0.010, 0.011, 0.012]):
        write_audit(tmp_path, seed, cosine)
    found = loaded(tmp_path)
    (said,) = audits.alignment_sentences(found)
    assert "over 3 runs the critic's gradient has a mean cosine of +0.011" in said
    assert "not aligned" in said
    assert "changes R by +0.0150, along the true gradient by +0.2000" in said
    (row,) = audits.alignment_table(found, "recorded", "x").rows
    assert row[1] == "3"
    assert row[-1] == "3"  # one map of each run has no cosine
    audits.panels([audits.Series("sensitivity", "critique", "s")], "y", log=True)(found)
    assert "SE, one cell: c 0.011" in audits.alt_text({"cosine_reward": "c"})(found)


def test_a_critic_is_dead_if_all_its_blocks_are_saturated(tmp_path):
    maps = ("layer1.0", "layer2.0", "layer2.1")  # the made-up layer1.0 is saturated
    for recipe in (SE, "evidence/se_resnet38_cells16"):
        write_run(tmp_path, recipe, network="se_resnet38", method="reinforced", maps=maps, **SCALE)
    found = dead.compare_ways(records.find_records(tmp_path), *SCALE.values())
    blocks = dead.load_critics(found)
    assert set(blocks["epoch"]) == {dead.JUDGED_EPOCH}
    assert dict(dead.dead_critics(blocks)[dead.GRID[0].label]) == {
        (0, "layer1"): True, (0, "layer2"): False,
    }  # fmt: skip
    rows = dead.death_table(blocks, "recorded", "x").rows
    assert [row[6] for row in rows if row[3] == "1"] == ["1 of 2", "1 of 2"]
    assert len(rows) == len(dead.GRID) == 8
    assert sum("not run yet" in text for text in dead.death_sentences(blocks)) == 6
    dead.saturated_shares(blocks)


def test_a_seed_that_was_not_planned_is_not_counted(tmp_path):
    for seed in (0, 3):
        write_run(tmp_path, SE, seed=seed, network="se_resnet38", method="reinforced", **SCALE)
    found = dead.compare_ways(records.find_records(tmp_path), *SCALE.values())
    assert set(dead.load_critics(found)["seed"]) == {0}
