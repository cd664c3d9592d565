"""`dreal plot`: the curves of any records."""

import numpy as np
import pytest
from synthetic_records import write_run

from book.companion.critics.run_curves import draw_runs, plot_records
from dreal_lib.errors import UserError
from dreal_lib.records import find_records

OWN = {"variant": "own-ffffffff"}  # of the fingerprint of made-up data


@pytest.fixture
def runs(tmp_path):
    write_run(tmp_path, "table_1/se_resnet50_baseline", **OWN)
    write_run(tmp_path, "table_1/se_resnet50_reinforced", **OWN)
    return find_records(tmp_path)


def test_panels_hold_the_curves(runs):
    figure = draw_runs(runs)
    titles = [axis.get_title() for axis in figure.axes if axis.axison]
    assert len(titles) == 5
    for word in ("loss", "top-1", "top-5", "critique", "reward"):
        assert any(word in title for title in titles)
    errors = next(axis for axis in figure.axes if "top-1" in axis.get_title())
    for run, line in zip(runs, errors.get_lines(), strict=True):
        np.testing.assert_allclose(line.get_ydata(), run.history()["top1_error_pct"])
    reward = next(axis for axis in figure.axes if "reward" in axis.get_title())
    (line,) = reward.get_lines()
    blocks = runs[1].blocks()
    first = [r for r, e in zip(blocks["reward_mean"], blocks["epoch"], strict=True) if e == 1]
    assert line.get_ydata()[0] == pytest.approx(np.mean(first))


def test_a_baseline_alone_has_no_critic_s_panels(runs):
    assert len([axis for axis in draw_runs(runs[:1]).axes if axis.axison]) == 3


def test_it_is_written_as_svg_or_png(runs, tmp_path):
    paths = [run.path for run in runs]
    assert plot_records(paths, tmp_path / "a.svg").read_bytes().startswith(b"<?xml")
    assert plot_records(paths, tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(UserError, match=r"try a\.svg"):
        plot_records(paths, tmp_path / "a.gif")
