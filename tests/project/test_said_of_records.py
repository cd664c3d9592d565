"""What prose says of the committed records is so, and every work in the bibliography is cited."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from book.companion.results.retrieval_rows import compare_methods
from book.companion.results.table_1 import compare_networks
from book.companion.text.runs import trained_network
from dreal_lib.records import find_records
from dreal_lib.runtime.environment import PROJECT_ROOT
from dreal_lib.settings.dreal import Settings

BOOK = PROJECT_ROOT / "book"
README = (PROJECT_ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def stored():
    return find_records(BOOK / "records")


def test_the_settings_that_no_run_varies(stored):
    text = (BOOK / "open_points.md").read_text(encoding="utf-8")
    sentence = re.search(r"No recorded run varies (.*?):", text, re.S)[1]
    defaults = {field.name: field.default for field in fields(Settings)}
    used = [run.record.settings["dreal"] for run in stored if run.record.settings.get("dreal")]
    assert used
    varied = {name for one in used for name, value in one.items() if value != defaults[name]}
    assert varied
    assert set(re.findall(r"`(\w+)`", sentence)) == defaults.keys() - varied


def test_the_results_that_the_readme_names(stored):
    photographs = compare_networks(stored, "desktop", "two_cores")
    found = [network.difference("top1_error_pct") for network in photographs.networks]
    verdicts = {difference.verdict for difference in found if difference}
    assert verdicts
    assert ("For no network" in README) == verdicts.isdisjoint({"lower", "higher"})
    reinforced = compare_methods(stored, "desktop", "omniglot").networks[1]
    lowered = reinforced.difference("map_step_pct").verdict == "lower"
    assert ("on Omniglot it lowers the mAP" in README) == lowered
    wrong = [
        run.history()["train_top1_error_pct"][-1]
        for run in stored
        if (run.record.variant, run.record.task) == ("omniglot", "retrieval")
    ]
    assert f"{min(wrong):.0f} to {max(wrong):.0f} % of the training images end wrong" in README


def test_the_size_of_the_runs_that_the_readme_names(stored):
    depth, classes = re.search(
        r"at most (\d+) layers.*?at most (\d+) classes", README, re.S
    ).groups()
    depths = [re.search(r"ResNet-(\d+)", trained_network(run.record))[1] for run in stored]
    assert max(map(int, depths)) == int(depth)
    assert max(getattr(run.record.data, "classes", 0) for run in stored) == int(classes)
    assert {run.record.profile for run in stored} == {"smoke", "desktop"}


def keys(text: str) -> set[str]:
    cited = re.findall(r"\{cite:[pt]\}`([^`]+)`", text)
    return {key.strip() for one in cited for key in one.split(",")}


def test_every_work_is_cited_and_every_citation_has_its_work():
    bibliography = (BOOK / "references.bib").read_text(encoding="utf-8")
    pages: list[Path] = [*BOOK.glob("*.md"), *BOOK.glob("notebooks/*.py")]
    cited = set().union(*(keys(page.read_text(encoding="utf-8")) for page in pages))
    assert cited == set(re.findall(r"^@\w+\{(\w+),", bibliography, re.M))


def test_the_file_of_wnids_names_the_classes_of_the_records(stored):
    lines = (PROJECT_ROOT / "data_prep" / "two_cores_wnids.txt").read_text().splitlines()[1:]
    wnids, titles = zip(*(line.split("  # ") for line in lines), strict=True)
    assert list(wnids) == sorted(wnids)  # as classes are numbered
    runs = [run for run in stored if run.record.data.name == "tiny-imagenet"]
    assert len({run.record.data.fingerprint for run in runs}) == 1
    named = [arrays["titles"] for run in runs if "titles" in (arrays := run.figure_data())]
    assert named  # older runs kept none
    assert {tuple(found) for found in named} == {titles}
