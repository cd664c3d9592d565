"""The comparison of two builds passes over what is marked as of a run, and over nothing else."""

from pathlib import Path

import pytest
from same_builds import differences

PAGE = (
    "<li><p>Commit: <code>{commit}</code> (clean)</p></li>\n<li><p>Training time: {time}</p></li>\n"
    "<td>table_1/x</td>\n<td><p>3561f9cc</p></td>\n<td><p>{time}</p></td>\n<td><p>{speed}</p></td>\n"
    "<td><p>1300</p></td>\n<p>top-1 error {error} %</p>\n"
)
NOTEBOOK = (
    '"- Commit: `{commit}` (clean)\\n",\n"| x ● |   0 | 3561f9cc | {time} | {speed} | 1300 |\\n",\n'
)
INDEX = 'Search.setIndex({{"terms": {{"critic": [1, 2], "{speed}": [3, 4], "{commit}": 5}}}})'
FIRST = {"commit": "6cd454c2da29", "time": "9 min 05 s", "speed": "148", "error": "58.26"}
SECOND = FIRST | {"commit": "0db2c1f3a9b7", "time": "14 min 43 s", "speed": "98"}


def build(folder: Path, values: dict[str, str]) -> Path:
    folder.mkdir()
    for name, text in (("a.html", PAGE), ("a.ipynb", NOTEBOOK), ("searchindex.js", INDEX)):
        (folder / name).write_text(text.format(**values), encoding="utf-8")
    return folder


def test_what_a_run_is_marked_with_may_differ(tmp_path):
    assert not differences(build(tmp_path / "a", FIRST), build(tmp_path / "b", SECOND))


def test_a_result_may_not(tmp_path):
    other = build(tmp_path / "b", SECOND | {"error": "58.27"})
    (found,) = differences(build(tmp_path / "a", FIRST), other)
    assert found.startswith("a.html:")
    assert {"58.26", "58.27"} <= set(found.split())


@pytest.mark.parametrize("name", ["more.svg", "more.png"])
def test_files_that_only_one_has_or_that_differ_are_named(tmp_path, name):
    first, second = build(tmp_path / "a", FIRST), build(tmp_path / "b", FIRST)
    (first / name).write_bytes(b"one")
    assert differences(first, second) == [f"only in one of them: {name}"]
    (second / name).write_bytes(b"two")
    assert len(differences(first, second)) == 1
