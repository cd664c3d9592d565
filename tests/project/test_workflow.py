"""`dreal reproduce`: the graph that the Snakefile makes of it, and bad input."""

import re
import shlex
from pathlib import Path

import pytest
from tiny_images import write_tiny_set

from book.companion.pages.catalogue import PAGES
from book.companion.reproduction import workflow
from book.companion.reproduction.backlog import rows_of
from book.companion.reproduction.dependencies import rows_of_records
from book.companion.reproduction.workflow import reproduce
from dreal_lib.errors import UserError

DEFAULTS = {
    "profile": "smoke",
    "variant": None,
    "rows": "pair",
    "seeds": "0",
    "data": None,
    "jobs": 1,
    "dry_run": True,
}


def test_a_dry_run_plans_runs_pages_and_book_and_says_what_they_may_take(capfd):
    """One dry run, as Snakemake takes its time; what names stand for: `test_backlog`."""
    # Seeds that nobody has run: all their training has to be planned, in any state of build/.
    given = {"rows": "fig_6,retrieval", "seeds": "98765,98766", "jobs": 2}
    assert reproduce(**DEFAULTS | given) == 0
    printed = capfd.readouterr()
    jobs = re.findall(r"^(\w+) +(\d+)$", printed.out + printed.err, re.MULTILINE)
    counted = {rule: int(count) for rule, count in jobs}
    rows = rows_of("fig_6,retrieval", None)
    affected = [page for page in PAGES.values() if set(rows_of_records(page)) & set(rows)]
    assert 8 <= len(affected) < len(PAGES)
    assert counted["train"] == 2 * len(rows) == 8
    assert len(affected) <= counted["notebook"] <= len(PAGES)
    assert counted["book"] == 1

    told = printed.out[printed.out.index("8 runs would be trained:") :].splitlines()[1:]
    wanted = [[row, "seed", f"{seed}:"] for seed in (98765, 98766) for row in rows[1:]]
    first = [[rows[0], "seed", "98765:"], [rows[0], "seed", "98766:"]]
    assert rows[0] == "table_1/se_resnet50_reinforced"
    assert [line.split()[:3] for line in told[:8]] == first + wanted
    assert all(re.search(r": about \d+ min \d\d s \(.+ run.* of this row; ", t) for t in told[:8])
    assert re.match(r"training in all: about .* min .* s; with --jobs 2: about ", told[8])
    assert "rendering, notebooks and book are not counted" in told[9]
    assert len(told) == 10


def test_missing_rows_are_estimated_too(capfd):
    arguments = DEFAULTS | {"rows": "fig_6,table_3", "seeds": "98765", "only_missing": True}
    assert reproduce(**arguments) == 0
    first, second, *told = capfd.readouterr().out.splitlines()
    assert (first, second) == ("5 of 5 runs have no record", "5 runs would be trained:")
    assert "of this row" in told[0]
    assert all("of classification, none of this network" in line for line in told[1:5])


def test_the_folder_that_trains_is_the_one_given_at_a_scale_of_its_own(
    tmp_path, monkeypatch, capfd
):
    folder = tmp_path / "010: #2 {x} *[a]* 'k' \"q\" $HOME \\n é日😀: "
    write_tiny_set(folder)
    run = workflow.subprocess.run

    def shown(command, **options):
        words = [word for word in command if word not in ("--quiet", "rules", "host")]
        return run([*words, "--printshellcmds"], **options)

    monkeypatch.setattr(workflow.subprocess, "run", shown)
    assert reproduce(**DEFAULTS | {"seeds": "98765", "data": folder, "rows": "table_3"}) == 0
    printed = capfd.readouterr()
    text = printed.out + printed.err
    given = text[text.index("dreal train") : text.index(" --run ", text.index("dreal train"))]
    assert shlex.split(given)[-1] == str(folder)
    (own,) = set(re.findall(r"smoke\+own-[0-9a-f]{8}", text))
    assert f"--run build/runs/{own}/table_3/" in text
    assert "build/records/smoke/" not in text


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"rows": "table_4"}, "unknown table, row or page 'table_4'"),
        ({"rows": "fig_7"}, "did you mean 'fig_6'.*spatial_maps"),
        ({"rows": "table_1,"}, "one of them is empty"),
        ({"rows": ""}, "one of them is empty"),
        ({"rows": "fig_1"}, "no run of its own enters the page fig_1; `make book`"),
        ({"seeds": ""}, "try 0,1,2"),
        ({"jobs": -1}, "--jobs is how many runs go on at a time; got -1"),
        ({"data": Path("nowhere")}, "--data 'nowhere' is no folder"),
        ({"profile": "smok"}, "did you mean 'smoke'"),
        ({"variant": "two_core"}, "did you mean 'two_cores'"),
        ({"seeds": "0;1"}, "try 0,1,2"),
        ({"profile": "desktop"}, "needs images"),
    ],
)
def test_bad_input_is_refused_before_anything_runs(changed, message):
    with pytest.raises(UserError, match=message):
        reproduce(**DEFAULTS | changed)
