"""The scoreboard: entries are sound, verdicts follow from records, and none changes silently."""

import json
import math
import re
from pathlib import Path

import pytest
from synthetic_records import write_run
from synthetic_retrieval import DATA, write_retrieval

from dreal_lib import paper, records, scoreboard
from dreal_lib.compare import paired_difference
from dreal_lib.error_claims import ON_ERRORS
from dreal_lib.errors import UserError
from dreal_lib.evidence import Scale, all_of, at_paper_scale, holds_size, prediction_half_width
from dreal_lib.front_page import QUOTED, line_of
from dreal_lib.printed_claims import PRINTED
from dreal_lib.recipes import load_recipe
from dreal_lib.statements import (
    CONTRADICTED,
    NOT_REPRODUCED,
    REPRODUCED,
    UNCLEAR,
    UNTRIED,
    VERDICTS,
    read_statements,
    statements,
)
from dreal_lib.tables import MARKS

ROOT = Path(__file__).parents[1]
IMAGENET = {
    "name": "imagenet",
    "fingerprint": "f" * 64,
    "train_images": 1_281_167,
    "val_images": 50_000,
    "classes": 1000,
}
BY_ID = {item.id: item for item in statements()}


@pytest.fixture(scope="module")
def board():
    return scoreboard.judge(records.find_records(ROOT / "book/records"), "desktop", "two_cores")


def write_pairs(root, network, gains, top5=None, profile="paper", **changes):
    """Pairs of runs whose reinforced one errs less by these gains, seed by seed."""
    for seed, (gain, gain5) in enumerate(zip(gains, top5 or gains, strict=True)):
        for method, less in (("baseline", (0, 0)), ("reinforced", (gain, gain5))):
            errors = (22.0 + seed - less[0], 6.0 + seed - less[1])
            write_run(
                root,
                f"table_1/{network}_{method}",
                seed=seed,
                profile=profile,
                top1=(errors[0], errors[0] - 0.1),
                top5=(errors[1], errors[1] - 0.1),
                **({"data": IMAGENET} | changes),
            )


def judged(root, name, *scales):
    """One statement by the records under a folder; the first scale is the page's own."""
    stored = records.find_records(root)
    scales = scales or (("desktop", "two_cores"), ("paper", None))
    return scoreboard._judge_one(BY_ID[name], [Scale(stored, *scale) for scale in scales])


# The committed records


def test_no_verdict_has_changed(board):
    lines = scoreboard.changed_verdicts(board)
    assert not lines, "\n".join(lines)


def test_a_changed_verdict_is_named(board):
    entry = board[0].statement.model_copy(update={"verdict": REPRODUCED})
    (line,) = scoreboard.changed_verdicts([scoreboard.Entry(entry, UNTRIED, "", "")])
    assert line.startswith("consistent: the records say 'not yet tried")
    assert "its entry in statements.yaml 'reproduced'" in line


def test_nothing_that_was_trained_is_decided_by_small_runs(board):
    decided = [e for e in board if e.runs and e.verdict != UNTRIED]
    assert not decided


def test_what_is_undecided_says_what_would_decide(board):
    for entry in board:
        assert bool(entry.wanted) == (entry.verdict == UNTRIED), entry.statement.id
    assert "`dreal train ROW --profile paper --seed 0 --data DATA`" in scoreboard.how_to_decide()
    wanted = {e.statement.id: e.wanted for e in board}
    assert wanted["se-resnet-101"] == (
        "`table_1/se_resnet101_baseline`, `table_1/se_resnet101_reinforced`"
    )
    assert wanted["attention-duke"].endswith("_attention`; with `--variant dukemtmc`")
    assert wanted["state-of-the-art"].endswith("; without a variant and with `--variant dukemtmc`")


def test_every_result_has_the_mark_of_its_origin(board):
    for entry in board:
        marked = str(entry.result)[-1] in MARKS.values()
        assert marked == bool(entry.runs or entry.statement.measure in scoreboard.UNTRAINED), (
            entry.statement.id
        )


def test_the_tally_counts_every_entry_once(board):
    counts = scoreboard.tally(board)
    assert list(counts) == list(VERDICTS)
    assert sum(counts.values()) == len(board) == len(statements())
    assert scoreboard.tally_sentence(board).startswith(f"{len(board)} statements: ")
    assert len(scoreboard.overview(board).rows) == len(board)


def test_what_the_reproduced_ones_are_is_said_of_them(board):
    assert scoreboard.reproduced_sentence(board) == (
        "All reproduced ones are counts of parameters and operations; none says that the method "
        "lowers an error."
    )
    assert scoreboard.reproduced_sentence([]) == ""
    less = scoreboard.Entry(BY_ID["se-resnet-50"], REPRODUCED, "", "paper")
    found = scoreboard.reproduced_sentence([*board, less])
    assert found == "8 of the 9 reproduced ones are counts of parameters and operations."


def test_no_result_is_given_twice_as_evidence(board):
    runs = [(str(e.result), e.runs) for e in board if e.runs]
    assert len(runs) == len({result for result, _ in runs})


def test_details_quote_decide_and_find(board):
    text = scoreboard.details(board, "costs")
    assert "0.11% of the original amount" in text
    assert "Found: Counted their way 8 of 8 agree." in text
    assert "(`consistent`)" not in text
    shown = scoreboard.details(board, "errors")
    assert shown.count("clear-cut reduction of error rates") == 1
    assert shown.count("Quote: as `se-resnet-50`.") == 5
    assert shown.startswith(":::{admonition} Quotes, criteria and measurements\n:class: dropdown\n")
    assert shown.endswith("\n:::")


# What is decided without training, by independent arithmetic


@pytest.mark.parametrize(
    ("name", "verdict", "said"),
    [
        # 4 gates of an LSTM over 2C inputs and one state, two biases each, C = 256 to 2048
        ("parameters-50", REPRODUCED, f"{sum(4 * (2 * c + 3) for c in (256, 512, 1024, 2048)):,} "),
        ("parameters-101", REPRODUCED, "30,768 of 49,326,872"),
        ("same-growth", REPRODUCED, "SE 30,768 and 30,768"),
        ("formula-parameters", REPRODUCED, f"{4 * (2 * 3840 + 4):,}"),
        ("formula-operations", CONTRADICTED, "grows by 0.005"),
        ("table-1-parameters", REPRODUCED, "8 of 8"),
        ("table-1-parameters-srm", NOT_REPRODUCED, "0 of 4"),
        ("table-1-operations", REPRODUCED, "4 of 4"),
        ("table-1-operations-critics", NOT_REPRODUCED, "2 of 6"),
        ("inference", REPRODUCED, "3 of 3"),
        ("deeper-top-5", UNCLEAR, "SE 0.390 with 50 layers, 0.372 with 101"),
        ("map-margins", CONTRADICTED, "Market +0.7 in the text, +3.7 by Table 2"),
        ("nearest-rival", UNCLEAR, "ABD-Net with 95.60, SONA has 95.58; mAP: SONA with 88.83\xa0"),
        ("alternately", UNCLEAR, "(lines 10 to 12) in the same iteration"),
    ],
)
def test_counted_statements(board, name, verdict, said):
    (entry,) = (e for e in board if e.statement.id == name)
    assert entry.verdict == verdict
    assert said in str(entry.result)


def test_counterfactuals_cost_at_least_the_later_stages(board):
    # Multiply-accumulates of a ResNet-50 at 224 px by stage, from the sizes of its layers (10^9):
    # a stage's first block, the others, and the map's side.
    def stage(width, before, side, blocks, stride):
        out, area = 4 * width, side**2
        first = before * width * (side * stride) ** 2 + 9 * width**2 * area + width * out * area
        first += before * out * area
        other = (out * width + 9 * width**2 + width * out) * area
        return first + (blocks - 1) * other

    stages = (
        stage(64, 64, 56, 3, 1),
        stage(128, 256, 28, 4, 2),
        stage(256, 512, 14, 6, 2),
        stage(512, 1024, 7, 3, 2),
    )
    stem, classifier = 49 * 3 * 64 * 112**2, 2048 * 1000
    again = sum(sum(stages[i + 1 :]) + classifier for i in range(4))
    whole = stem + sum(stages) + classifier
    (entry,) = (e for e in board if e.statement.id == "training-cost")
    found = int(re.search(r"\+(\d+) %", str(entry.result))[1])
    assert abs(found - 100 * again / whole) < 1  # SE's own layers are 0.06 % of it
    assert "where every image is predicted right" in str(entry.result)


def test_agreeing_numbers_contradict_nothing(monkeypatch):
    agreeing = {"market": "1.4 / 3.7", "duke": "3.2 / 3.6"}
    margins = {name: paper._retrieval(pair, "here") for name, pair in agreeing.items()}
    monkeypatch.setattr(paper, "SECTION_4_2_MARGINS", margins)
    assert PRINTED["map_margins"](BY_ID["map-margins"]).verdict == UNTRIED


@pytest.mark.parametrize(
    ("name", "verdict"),  # of Table 2: the best in mAP, in Rank-1 alone by 0.02, in neither
    [("SONA", UNCLEAR), ("ABD-Net", UNCLEAR), ("Mancs", CONTRADICTED)],
)
def test_a_rival_nearest_in_one_score_is_unclear(name, verdict):
    rival = BY_ID["nearest-rival"].model_copy(update={"about": name})
    assert PRINTED["nearest_rival"](rival).verdict == verdict


# The rule for what was trained


def difference(*values):
    return paired_difference(dict.fromkeys(range(len(values)), 0.0), dict(enumerate(values)))


@pytest.mark.parametrize(
    ("values", "claimed", "printed", "holds"),
    [
        ((-0.5, -0.4, -0.45), "lower", None, True),
        ((-0.5, -0.4, -0.45), "higher", None, False),
        ((-0.5, -0.4, -0.45), "lower", -0.464, True),
        ((-0.5, -0.4, -0.45), "lower", -3.0, False),  # the direction, but not the size
        ((-0.34, -0.46, -0.58), "lower", None, True),
        ((-0.34, -0.46, -0.58), "lower", -0.464, None),  # half-width 0.60: any size would agree
        ((-0.45, -0.46, -0.47), "lower", -0.04, False),
        ((0.34, 0.46, 0.58), "lower", -0.1, False),  # the other direction, however they scatter
        ((-0.5, 0.4, -0.1), "lower", None, None),
        ((-0.5, 0.4, -0.1), "lower", -0.464, None),
        ((-0.05, 0.04, -0.01), "lower", -0.464, False),  # too small to be it, whatever its sign
        ((-0.5,), "lower", -0.464, None),
        ((-0.5, -0.5), "lower", -0.464, None),
    ],
)
def test_holding_of_a_size(values, claimed, printed, holds):
    assert holds_size(difference(*values), claimed, printed) is holds


def test_the_prediction_interval_by_hand():
    # t of 2 degrees of freedom at 97.5 %: 4.302653; s = 1, n = 3: t * s * sqrt(1 + 1/3)
    assert prediction_half_width(difference(-1, 0, 1)) == pytest.approx(4.302653 * math.sqrt(4 / 3))
    assert math.isnan(prediction_half_width(difference(1)))
    assert holds_size(None, "lower") is None


def test_all_of_several():
    assert all_of([True, True]) is True
    assert all_of([True, None]) is None
    assert all_of([None, False]) is False
    assert all_of([]) is None


def test_runs_at_the_papers_scale_decide(tmp_path):
    write_pairs(tmp_path, "se_resnet50", (0.44, 0.47, 0.48), (0.37, 0.40, 0.39))
    entry = judged(tmp_path, "se-resnet-50")
    assert entry.verdict == REPRODUCED
    assert (entry.scales, entry.wanted) == ("paper", "")
    assert len(entry.runs) == 6
    assert str(entry.result).startswith("paper: top-1 \N{MINUS SIGN}0.46 ± 0.02")


def test_the_same_runs_elsewhere_decide_nothing(tmp_path):
    write_pairs(tmp_path, "se_resnet50", (0.44, 0.47, 0.48), (0.37, 0.40, 0.39), "desktop")
    assert judged(tmp_path, "se-resnet-50", ("desktop", None)).verdict == UNTRIED


@pytest.mark.parametrize(
    "changes", [{"data": IMAGENET | {"classes": 20}}, {"overrides": {"epochs": 4}}]
)
def test_the_papers_profile_alone_is_not_its_scale(tmp_path, changes):
    write_pairs(tmp_path, "se_resnet50", (0.44, 0.47, 0.48), (0.37, 0.40, 0.39), **changes)
    assert judged(tmp_path, "se-resnet-50").verdict == UNTRIED
    assert not at_paper_scale(records.find_records(tmp_path))


def test_one_seed_decides_nothing(tmp_path):
    write_pairs(tmp_path, "se_resnet50", (0.46,))
    entry = judged(tmp_path, "se-resnet-50")
    assert entry.verdict == UNTRIED
    assert "n = 1" in str(entry.result)
    assert "`table_1/se_resnet50_baseline`" in entry.wanted


def test_what_does_not_hold_is_said(tmp_path):
    write_pairs(tmp_path, "se_resnet50", (-0.44, -0.47, -0.48))
    assert judged(tmp_path, "se-resnet-50").verdict == NOT_REPRODUCED


def test_a_part_of_what_is_spoken_of_decides_nothing(tmp_path):
    write_pairs(tmp_path, "se_resnet50", (0.44, 0.47, 0.48))
    entry = judged(tmp_path, "consistent")
    assert entry.verdict == UNTRIED
    assert "Mean of SE-ResNet-50: " in entry.said


NETWORKS = tuple(f"{kind}_resnet{depth}" for kind in ("se", "cbam", "srm") for depth in (50, 101))


@pytest.mark.parametrize(
    ("last", "verdict"),
    [
        ((0.5, 0.6, 0.7), REPRODUCED),
        ((-0.5, -0.6, -0.7), NOT_REPRODUCED),  # the mean still falls
        ((-0.5, 0.6, 0.1), UNTRIED),
    ],
)
def test_consistent_is_every_network_and_not_the_mean(tmp_path, last, verdict):
    for network in NETWORKS[:-1]:
        write_pairs(tmp_path, network, (2.0, 2.1, 2.2))
    write_pairs(tmp_path, NETWORKS[-1], last)
    entry = judged(tmp_path, "consistent")
    assert entry.verdict == verdict
    assert "mean of 6: top-1 \N{MINUS SIGN}1" in str(entry.result)
    assert "(a claimed improvement)" in str(entry.result)


@pytest.mark.parametrize(
    ("gains", "holds"),
    [
        ((0.01, -0.01, 0.02), True),
        ((-0.5, -0.6, -0.55), True),  # errs more
        ((0.5, 0.6, 0.55), False),  # errs less than with 1
        ((-0.5, 0.6, 0.1), None),  # a gain as Table 1's could hide in the scatter
        ((0.5,), None),
    ],
)
def test_no_gamma_may_be_better(tmp_path, gains, holds):
    others = [name for name in BY_ID["gamma"].recipes if "gamma" in name]
    for seed, gain in enumerate(gains):
        for recipe, less in (("table_1/se_resnet50_reinforced", 0), *((r, gain) for r in others)):
            settings = load_recipe(recipe, "smoke").model_dump(mode="json")
            facts = {"settings": settings, "network": "se_resnet50"}
            write_run(tmp_path, recipe, seed=seed, top1=(22.0 - less, 20.0), **facts)
    scale = Scale(records.find_records(tmp_path), "smoke", None)
    assert ON_ERRORS["no_better_gamma"](scale, BY_ID["gamma"]).holds is holds


def test_three_kinds_of_attention_that_trained_show_nothing_yet(tmp_path):
    for network in ("se_resnet50", "cbam_resnet50", "srm_resnet50"):
        write_pairs(tmp_path, network, (0.4, -0.5, 0.1))
    entry = judged(tmp_path, "plug-and-play")
    assert entry.verdict == UNTRIED
    assert "Settings of the method: the same in all." in entry.said


def test_deeper_networks_are_compared_gap_by_gap(tmp_path):
    for kind, few, many in (("se", 0.46, 0.76), ("cbam", 0.58, 0.84), ("srm", 0.35, 0.93)):
        write_pairs(tmp_path, f"{kind}_resnet50", (few, few + 0.01, few - 0.01))
        write_pairs(tmp_path, f"{kind}_resnet101", (many + 0.01, many + 0.01, many - 0.03))
    entry = judged(tmp_path, "deeper-top-1")
    assert entry.verdict == REPRODUCED
    assert "SE \N{MINUS SIGN}0.30" in str(entry.result)


def test_baselines_are_set_beside_the_papers_at_its_scale_alone(tmp_path):
    write_pairs(tmp_path, "se_resnet50", (0.4, 0.4, 0.4), profile="desktop")
    assert str(judged(tmp_path, "baselines", ("desktop", None)).result) == "not run"
    write_pairs(tmp_path, "se_resnet50", (0.4, 0.5, 0.4))
    assert "SE-ResNet-50" in str(judged(tmp_path, "baselines").result)


def test_critiques_and_rewards_over_epochs(tmp_path):
    """The made-up curves rise with the accuracy; the critic of layer1.0 is stuck."""
    write_pairs(tmp_path, "se_resnet50", (0.4, 0.5))
    follows, rises = judged(tmp_path, "critique-follows"), judged(tmp_path, "both-rise")
    assert follows.verdict == rises.verdict == NOT_REPRODUCED
    assert "5 of 6 modules do" in str(follows.result)
    assert "reward of 6, critique of 5 of 6 modules" in str(rises.result)


def test_other_scales_stand_in_only_where_the_own_has_no_run(tmp_path):
    scales = (("desktop", "two_cores"), ("smoke", None))
    write_pairs(tmp_path, "se_resnet50", (0.4, 0.5), profile="smoke")
    assert str(judged(tmp_path, "se-resnet-50", *scales).result).startswith("smoke: ")
    write_pairs(tmp_path, "se_resnet50", (0.2, 0.3), profile="desktop", variant="two_cores")
    entry = judged(tmp_path, "se-resnet-50", *scales)
    assert entry.scales == "desktop+two_cores"
    assert ":" not in str(entry.result)


def write_steps(root, name, gains=((1.3, 3.6), (1.4, 3.7), (1.5, 3.8)), **changes):
    """Runs of + attention and + reinforce on a set, the latter better by these gains."""
    for seed, (rank1, mean_ap) in enumerate(gains):
        for method, more in (("attention", (0, 0)), ("reinforced", (rank1, mean_ap))):
            scores = {"rank1": 90 + seed + more[0], "mean_ap": 80 + seed + more[1]}
            facts = {"seed": seed, "profile": "paper", "data": DATA | {"name": name}} | changes
            write_retrieval(root, method, **scores, **facts)


def test_retrieval_on_the_papers_set_decides(tmp_path):
    write_steps(tmp_path, "market1501")
    entry = judged(tmp_path, "reinforced-market")
    assert entry.verdict == REPRODUCED
    assert "Rank-1 +1.40 ± 0.10" in str(entry.result)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("omniglot", {}),
        ("dukemtmc", {}),  # of the paper, but not this statement's
        ("market1501", {"overrides": {"epochs": 3}}),
    ],
)
def test_retrieval_on_another_set_decides_nothing_of_this_one(tmp_path, name, changes):
    write_steps(tmp_path, name, **changes)
    entry = judged(tmp_path, "reinforced-market")
    assert entry.verdict == UNTRIED
    assert "Rank-1 +1.40" in str(entry.result)


def test_other_sets_are_shown_once(tmp_path):
    write_steps(tmp_path, "omniglot")
    assert "Rank-1" in str(judged(tmp_path, "reinforced-market").result)
    assert judged(tmp_path, "reinforced-duke").result == "not run"


def test_both_sets_are_needed_to_be_ahead_of_all(tmp_path):
    write_steps(tmp_path, "market1501", ((7.0, 11.0), (7.1, 11.1)))
    half = judged(tmp_path, "state-of-the-art")
    assert (half.verdict, half.runs[0].record.data.name) == (UNTRIED, "market1501")
    duke = {"variant": "dukemtmc", "overrides": {"dataset": "dukemtmc"}}
    write_steps(tmp_path, "dukemtmc", ((7.0, 11.0), (7.1, 11.1)), **duke)
    assert judged(tmp_path, "state-of-the-art").verdict == REPRODUCED


# The entries


def test_every_group_has_its_place_on_the_page():
    notebook = (ROOT / "book/notebooks/scoreboard.py").read_text()
    groups = list(dict.fromkeys(item.group for item in statements()))
    assert re.findall(r'scoreboard\.details\(board, "(\w+)"\)', notebook) == groups


@pytest.mark.parametrize("item", statements(), ids=lambda item: item.id)
def test_an_entry_names_what_exists(item):
    assert item.measure in scoreboard.MEASURES
    for recipe in item.recipes:
        for variant in item.variants:
            load_recipe(recipe, "paper", variant)
    page = (ROOT / "book/notebooks" / item.seen).resolve()
    assert page.with_suffix(".py").is_file() or page.with_suffix(".md").is_file()
    assert "{" not in item.quotation.replace("{x}", "")
    assert "None" not in item.quotation


def test_every_measure_is_asked_for():
    assert {item.measure for item in statements()} == set(scoreboard.MEASURES)


def test_bad_entries_are_refused_in_one_line():
    good = BY_ID["gamma"].model_dump(mode="json")
    for change, said in (
        ({"verdict": "maybe"}, "entry 'gamma' has a bad verdict"),
        ({"colour": "red"}, "entry 'gamma' has a bad colour"),
        ({"printed": "about 1"}, "entry 'gamma' has a bad printed"),
    ):
        with pytest.raises(UserError, match=said) as refused:
            read_statements(json.dumps([good | change]))
        assert "\n" not in str(refused.value)
    with pytest.raises(UserError, match="two entries of id gamma"):
        read_statements(json.dumps([good, good]))


def test_an_unknown_measure_is_refused():
    item = BY_ID["gamma"].model_copy(update={"measure": "guess"})
    with pytest.raises(UserError, match="gamma names no measure; got 'guess'"):
        scoreboard._judge_one(item, [Scale([], "smoke", None)])


# The front page


LEARNED = {"tally", "gain", "rewards", "gates"}


def test_the_front_page_quotes_what_the_scoreboard_keeps():
    text = (ROOT / "book/intro.md").read_text()
    quoted = re.findall(r"\{glue:any\}`notebooks/scoreboard\.ipynb::scoreboard_([a-z0-9-]+)`", text)
    assert set(quoted) == LEARNED | set(QUOTED)
    assert text.count("scoreboard.ipynb::") == len(quoted)
    assert set(QUOTED) <= set(BY_ID)
    assert "```{glue:any} scoreboard_schematic\n:doc: notebooks/scoreboard.ipynb\n" in text
    assert len(text.splitlines()) <= 85


def test_the_front_page_shows_every_scale_and_what_is_claimed(board):
    (entry,) = (e for e in board if e.statement.id == "se-resnet-50")
    text = str(line_of(entry, records.find_records(ROOT / "book/records")))
    assert re.search(r"desktop\+two_cores: top-1 \+.*smoke: top-1 \N{MINUS SIGN}", text)
    assert "(a claimed worsening)" in text


def test_a_line_is_not_bold_and_escapes():
    from dreal_lib.front_page import Line

    bundle = Line("a < b & c", "reproduced")._repr_mimebundle_()
    assert bundle["text/html"] == "<span><em>reproduced</em>: a &lt; b &amp; c</span>"
    assert bundle["text/plain"] == "reproduced: a < b & c"


def test_a_picture_is_an_image_with_its_text():
    from dreal_lib.front_page import Picture

    bundle = Picture("<svg/>", 'A "b" <c>.')._repr_mimebundle_()
    assert 'alt="A &quot;b&quot; &lt;c&gt;."' in bundle["text/html"]
    assert "data:image/svg+xml;base64,PHN2Zy8+" in bundle["text/html"]
    assert bundle["text/plain"] == 'A "b" <c>.'
