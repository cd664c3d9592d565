"""The front page quotes what the scoreboard keeps for it, and that is what the runs hold."""

import re
from pathlib import Path
from statistics import fmean

import pandas as pd
import pytest
from synthetic_board import BY_ID
from synthetic_records import write_run

from book.companion.claims import board, front_page
from book.companion.claims.front_page import QUOTED, line, line_of, picture
from book.companion.claims.sources import Scale
from book.companion.claims.statements import UNTRIED
from book.companion.critics import curves
from dreal_lib import records

ROOT = Path(__file__).parents[3]
LEARNED = {"tally", "critics", "gain", "rewards", "gates"}


def test_the_front_page_quotes_what_the_scoreboard_keeps():
    text = (ROOT / "book/intro.md").read_text()
    quoted = re.findall(r"\{glue:any\}`notebooks/scoreboard\.ipynb::scoreboard_([a-z0-9-]+)`", text)
    assert set(quoted) == LEARNED | set(QUOTED)
    assert text.count("scoreboard.ipynb::") == len(quoted)
    assert set(QUOTED) <= set(BY_ID)
    assert "```{glue:any} scoreboard_schematic\n:doc: notebooks/scoreboard.ipynb\n" in text
    assert len(text.splitlines()) <= 85


def test_the_front_page_shows_every_scale_and_what_is_claimed():
    entry = board.Entry(BY_ID["se-resnet-50"], UNTRIED, "", "")
    text = str(line_of(entry, records.find_records(ROOT / "book/records")))
    assert "two_cores: SE-ResNet-14, width 16 (row SE-ResNet-50): top-1 +" in text
    assert re.search(r"smoke: .*top-1 \N{MINUS SIGN}", text)
    assert "(significantly worse)" in text


def test_what_was_learned_is_what_the_runs_hold():
    stored = records.find_records(ROOT / "book/records")
    scale = Scale(stored, "desktop", "two_cores")
    blocks = [pd.DataFrame(run.blocks()) for run in scale.network("se_resnet50").reinforced.runs]
    first, last = (
        [b[b["epoch"] == getattr(b["epoch"], which)()] for b in blocks] for which in ("min", "max")
    )
    rise = fmean(b["reward_mean"].mean() for b in last) - fmean(
        b["reward_mean"].mean() for b in first
    )
    # With gamma 1 an image predicted wrong costs 1.
    right = fmean(b["right_share"].mean() for b in last) - fmean(
        b["right_share"].mean() for b in first
    )
    marked = front_page.learned(scale.table_1)
    assert {cell.origins for cell in marked.values()} == {("recorded",)}
    found = {name: str(cell) for name, cell in marked.items()}
    rises, parts = (
        [float(text) for text in re.findall(r"\+\d\.\d\d", piece)]
        for piece in found["rewards"].split(" by accuracy")[0].split("(seeds")
    )
    assert fmean(rises) == pytest.approx(rise, abs=0.01)
    assert fmean(parts) == pytest.approx(right, abs=0.01)

    shut = 0
    for run in scale.network("cbam_resnet50").reinforced.runs:
        arrays = run.figure_data()
        keys = [k for k in arrays if k.startswith("attention/") and k.endswith("spatial/mean")]
        # The largest that any entry has for an image two deviations above its mean.
        most = (arrays[k] + 2 * arrays[k.replace("mean", "variance")] ** 0.5 for k in keys)
        shut += sum(float(one.max()) <= 0.05 for one in most)
    assert shut == 3
    assert f"0 of 12 baseline, {shut} of 12 reinforced" in found["gates"]

    silent = total = 0  # these networks have one block a stage: a critic judges one map
    for kind in ("se", "cbam", "srm"):
        for run in scale.network(f"{kind}_resnet50").reinforced.runs:
            last = pd.DataFrame(run.blocks()).query("epoch == epoch.max()")
            silent += int((last["critique_mean"].abs() <= curves.SILENT_WITHIN).sum())
            total += len(last)
    for run in scale.network("srm_resnet101").reinforced.runs:  # two blocks a stage, four critics
        last = pd.DataFrame(run.blocks()).query("epoch == epoch.max()")
        largest = last["critique_mean"].abs().groupby(last["map"].str.split(".").str[0]).max()
        silent += int((largest <= curves.SILENT_WITHIN).sum())
        total += len(largest)
    assert found["critics"].startswith(f"{silent} of {total} critics are silent")


def test_what_was_learned_is_marked_by_its_own_runs(tmp_path):
    """CBAM's runs are recorded, SE's made again; what is said of all has both marks."""
    for method in ("baseline", "reinforced"):
        write_run(tmp_path / "old", f"table_1/cbam_resnet50_{method}")
        write_run(tmp_path / "new", f"table_1/se_resnet50_{method}")
    stored = records.find_records(tmp_path / "old")
    stored += records.find_records(tmp_path / "new", origin="re-run")
    found = front_page.learned(Scale(stored, "smoke", None).table_1)
    both = ("recorded", "re-run")
    assert [found[n].origins for n in ("critics", "rewards")] == [both, ("re-run",)]
    assert found["gain"].origins == both


def test_without_runs_nothing_was_learned():
    found = front_page.learned(Scale((), "smoke", None).table_1)
    assert found["rewards"] == found["gates"] == "Not run."
    assert found["critics"] == "No run at scale smoke."
    assert "No pair" in found["gain"]


def test_a_line_is_not_bold_and_escapes():
    bundle = line("a < b & c", "reproduced")._repr_mimebundle_()
    assert bundle["text/html"] == "<span><em>reproduced</em>: a &lt; b &amp; c</span>"
    assert bundle["text/plain"] == "reproduced: a < b & c"


def test_a_picture_is_an_image_with_its_text():
    bundle = picture("<svg/>", 'A "b" <c>.')._repr_mimebundle_()
    assert 'alt="A &quot;b&quot; &lt;c&gt;."' in bundle["text/html"]
    assert "data:image/svg+xml;base64,PHN2Zy8+" in bundle["text/html"]
    assert bundle["text/plain"] == 'A "b" <c>.'
