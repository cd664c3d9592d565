"""The controlled comparison: nothing shown before its n, verdicts in the plan's words."""

import pytest
from synthetic_records import write_run

from book.companion.results import evidence
from dreal_lib import records
from dreal_lib.recipes import recipe_names
from dreal_lib.runtime.environment import PROJECT_ROOT

BASE = [50.0, 50.5, 49.5, 50.2, 49.8, 50.1, 49.9, 50.3, 49.7]


def write_arm(root, row, errors, **changes):
    for seed, error in enumerate(errors):
        facts = {"method": "baseline" if row.endswith("baseline") else "reinforced"} | changes
        write_run(
            root, f"evidence/{row}", seed=seed, profile="desktop", variant="evidence",
            network="se_resnet38", top1=(error, error), **{"threads": 1, **facts},
        )  # fmt: skip


def compared(root):
    return evidence.compare_arms(records.find_records(root), "desktop", "evidence")


def test_arms_and_contrasts_are_those_of_the_plan():
    planned = (PROJECT_ROOT / "book" / "plan.md").read_text(encoding="utf-8")
    rows = {name for name in recipe_names() if name.startswith("evidence/")}
    for arm in evidence.ARMS:
        assert arm.recipe in rows
        if arm.row.startswith("se_"):
            assert f"`{arm.row}`" in planned
    for place, one in enumerate(evidence.CONTRASTS, 1):
        short = [row.removeprefix("se_resnet38_") for row in (one.first, one.second)]
        assert f"| {place} | {short[0]} - {short[1]} |" in planned
        assert one.asks[1:].rstrip("?") in planned
        line = next(li for li in planned.splitlines() if li.startswith(f"| {place} | {short[0]}"))
        assert line.endswith(f"| {one.pairs} |")


def test_no_look_before_all_pairs_are_there(tmp_path):
    write_arm(tmp_path, "se_resnet38_baseline", BASE)
    write_arm(tmp_path, "se_resnet38_reinforced", [e + 5 for e in BASE[:8]])
    found = compared(tmp_path)
    assert found.contrasts()["default"].difference is None
    assert found.contrasts()["default"].pairs == 8
    assert "8 of 9 pairs" in evidence.contrast_sentences(found)[0]
    assert "+5" not in evidence.contrast_table(found).to_markdown()
    assert evidence.contrast_points(found).empty
    errors = {row[0]: str(row[2]) for row in evidence.arm_table(found).rows}
    whole, short = (evidence.ARMS[place].label for place in (0, 1))
    assert errors[whole].startswith("50.00 ± ")
    assert "55" not in errors[short]


def test_a_whole_contrast_is_judged_by_the_planned_seeds(tmp_path):
    shifts = [2.0, 2.1, 1.9, 2.05, 1.95, 2.0, 2.1, 1.9, 2.0, 40.0]  # the tenth was not planned
    write_arm(tmp_path, "se_resnet38_baseline", [*BASE, 50.0])
    pairs = zip([*BASE, 50.0], shifts, strict=True)
    write_arm(tmp_path, "se_resnet38_reinforced", [e + s for e, s in pairs])
    found = compared(tmp_path)
    judged = found.contrasts()["default"]
    assert judged.pairs == 9
    assert judged.difference.mean == pytest.approx(2.0)
    assert evidence.verdict(judged) == "differs: worse"
    assert (
        "**Does the method, as it is by default, change the error?** Differs: worse: +2.00"
        in (evidence.contrast_sentences(found)[0])
    )
    points = evidence.contrast_points(found)
    assert list(points["seed"]) == list(range(9))
    evidence.forest(points)
    assert "+2.00" in evidence.alt_text(points)


def test_equivalence_and_indecision(tmp_path):
    write_arm(tmp_path, "se_resnet38_baseline", BASE)
    write_arm(tmp_path, "se_resnet38_reinforced", [e + s for e, s in zip(BASE, [0.1, -0.1, 0.05, -0.05, 0.1, -0.1, 0.0, 0.08, -0.08], strict=True)])  # fmt: skip # noqa: E501
    write_arm(tmp_path, "se_resnet38_remedied", [e + s for e, s in zip(BASE[:5], [3, -3, 4, -4, 1], strict=True)])  # fmt: skip # noqa: E501
    judged = compared(tmp_path).contrasts()
    assert evidence.verdict(judged["default"]) == "equivalent within 1.0 point"
    assert evidence.verdict(judged["living critic"]) == "undecided with n = 5"


def test_runs_of_other_threads_are_no_pair(tmp_path):
    write_arm(tmp_path, "se_resnet38_baseline", BASE[:2])
    write_arm(tmp_path, "se_resnet38_reinforced", BASE[:2], threads=2)
    assert compared(tmp_path).contrasts()["default"].pairs == 0
