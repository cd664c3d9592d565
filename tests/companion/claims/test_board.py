"""The scoreboard: entries are sound, what is counted holds, and no verdict changes silently."""

import inspect
import json
import re
from pathlib import Path

import pytest
from synthetic_board import BY_ID

from book.companion.claims import board as scoreboard
from book.companion.claims import multiplicity
from book.companion.claims.counted import COUNTED
from book.companion.claims.judged import printed_size
from book.companion.claims.row_sums import printed_sum, terms_of
from book.companion.claims.rules import RULES
from book.companion.claims.sources import SOURCES
from book.companion.claims.statements import (
    CONTRADICTED,
    NOT_REPRODUCED,
    REPRODUCED,
    UNCLEAR,
    UNTRIED,
    VERDICTS,
    Statement,
    statements,
)
from book.companion.papers import dreal, published
from book.companion.text.tables import MARKS
from dreal_lib import records
from dreal_lib.errors import UserError
from dreal_lib.recipes import load_recipe

ROOT = Path(__file__).parents[3]
CBAM_101 = dreal.TABLE_1["cbam_resnet101"].self_implemented.top1


@pytest.fixture(scope="module")
def board():
    return scoreboard.judge(records.find_records(ROOT / "book/records"), "desktop", "two_cores")


# The committed records


def test_no_verdict_has_changed(board):
    changed = {e.statement.id: e.verdict for e in board if e.verdict != e.statement.verdict}
    assert not changed, "look at why, then change the entry"


def test_nothing_that_was_trained_is_decided_by_small_runs(board):
    decided = [e for e in board if e.runs and e.verdict != UNTRIED]
    assert not decided


def test_what_is_undecided_says_what_would_decide(board):
    for entry in board:
        assert bool(entry.wanted) == (entry.verdict == UNTRIED), entry.statement.id
    assert (
        "`dreal train ROW --profile paper --seed 0 --threads 1 --data DATA`"
        in scoreboard.how_to_decide()
    )
    wanted = {e.statement.id: e.wanted for e in board}
    assert wanted["se-resnet-101"] == (
        "`table_1/se_resnet101_baseline`, `table_1/se_resnet101_reinforced`"
    )
    assert wanted["attention-duke"].endswith("_attention`; with `--variant dukemtmc`")
    assert wanted["state-of-the-art"].endswith("; without a variant and with `--variant dukemtmc`")


def test_every_result_has_the_mark_of_its_origin(board):
    for entry in board:
        marked = str(entry.result)[-1] in MARKS.values()
        assert marked == bool(entry.runs or not entry.statement.recipes), entry.statement.id


def test_the_tally_counts_every_entry_once(board):
    said = scoreboard.tally_sentence(board)
    counts = [int(re.search(rf"(\d+) {re.escape(verdict)}[,.]", said)[1]) for verdict in VERDICTS]
    assert sum(counts) == len(board) == len(statements())
    assert said.startswith(f"{len(board)} statements: ")
    assert len(scoreboard.overview(board).rows) == len(board)


def test_what_the_reproduced_ones_are_is_said_of_them(board):
    assert "All reproduced ones are counts" in scoreboard.tally_sentence(board)
    assert "none says that the method lowers an error" in scoreboard.tally_sentence(board)
    less = scoreboard.Entry(BY_ID["se-resnet-50"], REPRODUCED, "", "paper")
    assert "8 of the 9 reproduced ones" in scoreboard.tally_sentence([*board, less])


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


def test_the_scoreboard_says_how_many_intervals_it_holds_and_how_many_chance_would_bring(board):
    trials = multiplicity.trials_of(board)
    count, corrected = multiplicity.sentences(board)
    beyond = sum(t.difference.low > 0 or t.difference.high < 0 for t in trials)
    assert count.startswith(f"{len(trials)} different intervals of 95 %")
    assert f"{beyond} leave out zero" in count
    assert f"about {0.05 * len(trials):.1f} would by chance" in count
    left = sum(p < 0.05 for p in multiplicity.after_holm(trials).values())
    assert f"Corrected by Holm within each group, {left} of these" in corrected
    assert left <= beyond < len(trials)
    assert len({trial.name for trial in trials}) == len(trials)


def test_who_is_beaten_are_the_methods_that_the_sentence_names():
    """References 24, 6 and 54; ABD-Net, which is best in Rank-1, is not among them."""
    named = {m.name: m for m in dreal.TABLE_2_COMPARED if m.name in dreal.SECTION_4_2_NAMED}
    assert set(named) == {"HA-CNN", "MHN-6", "SONA"}
    rows = "table_2/resnet50_reinforced - †table_2/named"
    best = max(method.market.rank1.value for method in named.values())
    assert best == 95.58
    assert printed_sum(rows, "rank1_pct", "market1501") == pytest.approx(96.1 - best)


def test_n_is_shown_for_each_part_where_parts_differ(board):
    """Of gamma, 0.25 has three seeds and the others one."""
    (entry,) = (e for e in board if e.statement.id == "gamma")
    said = str(entry.result)
    assert re.search(r"gamma 0\.25 [^,]*\(n = 3\), gamma 0\.5 [^,]*\(n = 1\)", said)


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
        ("deeper-top-5", UNCLEAR, "SE +0.390 with 50 layers, +0.372 with 101"),
        ("map-margins", CONTRADICTED, "Market +0.7 in the text, +3.7 by Table 2"),
        ("nearest-rival", UNCLEAR, "ABD-Net with 95.60, SONA has 95.58; mAP: SONA with 88.83\xa0"),
        ("re-implemented", UNCLEAR, f"CBAM-ResNet-101 +{CBAM_101.printed} self impl., +21.51"),
        ("operations-most", NOT_REPRODUCED, "truly CBAM-ResNet-50 by 0.00"),
        ("duke-more-prominent", UNCLEAR, "mAP: +3.7 on Market-1501, +3.6 on DukeMTMC-reID"),
        ("same-parts", UNCLEAR, "two chosen images of one person"),
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
    margins = {name: published.retrieval_of(pair, "here") for name, pair in agreeing.items()}
    monkeypatch.setattr(dreal, "SECTION_4_2_MARGINS", margins)
    assert scoreboard.judge_one(BY_ID["map-margins"], []).verdict == UNTRIED


@pytest.mark.parametrize(
    ("name", "verdict"),  # of Table 2: the best in mAP, in Rank-1 alone by 0.02, in neither
    [("SONA", UNCLEAR), ("ABD-Net", UNCLEAR), ("Mancs", CONTRADICTED)],
)
def test_a_rival_nearest_in_one_score_is_unclear(name, verdict):
    rival = BY_ID["nearest-rival"].model_dump()
    for part in rival["parts"].values():
        part["arguments"]["named"] = name
    assert scoreboard.judge_one(Statement(**rival), []).verdict == verdict


# The entries


def test_every_group_has_its_place_on_the_page():
    notebook = (ROOT / "book/notebooks/scoreboard.py").read_text()
    groups = list(dict.fromkeys(item.group for item in statements()))
    assert re.findall(r'board\.details\(judged, "(\w+)"\)', notebook) == groups


@pytest.mark.parametrize("item", statements(), ids=lambda item: item.id)
def test_an_entry_names_what_exists(item):
    assert bool(item.parts) != bool(item.reading)
    for part in (*item.parts.values(), *item.beside.values()):
        about = part.about(network=item.network, printed=item.printed)
        inspect.signature({**SOURCES, **COUNTED}[part.source]).bind(None, **about.arguments)
        assert set(part.rules) <= RULES.keys()
        for _, row in terms_of(about.arguments.get("rows", "†")):
            assert row in item.recipes or row[0] == "†"
        if part.printed:
            printed_size(about)
    assert not any(part.rules for part in item.beside.values())
    assert any(part.rules for part in item.parts.values()) == bool(item.parts)
    for recipe in item.recipes:
        for variant in item.variants:
            load_recipe(recipe, "paper", variant)
    page = (ROOT / "book/notebooks" / item.seen).resolve()
    assert page.with_suffix(".py").is_file() or page.with_suffix(".md").is_file()
    assert "{" not in item.quotation.replace("{x}", "")
    assert "None" not in item.quotation


def test_all_that_can_be_asked_for_is():
    asked = statements()
    parts = [part for item in asked for part in (*item.parts.values(), *item.beside.values())]
    assert {part.source for part in parts} == {*SOURCES, *COUNTED}
    assert {rule for part in parts for rule in part.rules} == set(RULES)


def written(folder, name, paper, *entries):
    folder.mkdir(exist_ok=True)
    content = {"paper": paper, "statements": list(entries)}
    (folder / name).write_text(json.dumps(content))
    return folder


GOOD = BY_ID["map-margins"].model_dump(mode="json", exclude={"paper", "parts", "beside"})
GOOD |= {"reading": "It can be read in two ways."}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"verdict": "maybe"}, "a.yaml: entry 'map-margins' has a bad verdict"),
        ({"colour": "red"}, "entry 'map-margins' has a bad colour"),
        ({"reading": ""}, "entry 'map-margins' must have either parts or a reading"),
        ({"printed": "about 1"}, "entry 'map-margins' has a bad printed"),
    ],
)
def test_a_bad_entry_is_refused_in_one_line(tmp_path, change, said):
    with pytest.raises(UserError, match=said) as refused:
        statements(written(tmp_path, "a.yaml", "A", GOOD | change), ("a.yaml",))
    assert "\n" not in str(refused.value)


def test_a_file_without_its_paper_is_refused(tmp_path):
    (tmp_path / "a.yaml").write_text("[]")
    with pytest.raises(UserError, match=r"a\.yaml must hold paper and statements"):
        statements(tmp_path, ("a.yaml",))


def test_statements_of_two_papers_are_told_apart(tmp_path):
    folder = written(tmp_path / "both", "a.yaml", "A 2019", GOOD)
    written(folder, "b.yaml", "B 2020", GOOD | {"id": "other"})
    entries = [scoreboard.judge_one(item, []) for item in statements(folder, ("a.yaml", "b.yaml"))]
    text = scoreboard.details(entries, GOOD["group"])
    assert "A 2019, section 4.2: “" in text
    assert "B 2020, section 4.2: “" in text
    with pytest.raises(UserError, match="two entries of id map-margins"):
        statements(written(folder, "b.yaml", "B", GOOD), ("b.yaml", "a.yaml"))


def test_parts_share_what_stands_before_them(tmp_path):
    entry = GOOD | {
        "reading": "",
        "each": {"source": "rows", "metric": "rank1_pct", "rules": "higher"},
        "parts": {"one": {"rows": "a - b"}, "two": {"rows": "c", "rules": "higher largest"}},
    }
    (item,) = statements(written(tmp_path, "a.yaml", "A", entry), ("a.yaml",))
    assert item.parts["one"].arguments == {"metric": "rank1_pct", "rows": "a - b"}
    assert item.parts["two"].rules == ("higher", "largest")
