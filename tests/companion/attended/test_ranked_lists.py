"""The retrieval figure: which queries are shown, what is drawn, and what the masks say."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from synthetic_retrieval import FIRST, KEPT, QUERIES, figure_arrays, write_retrieval

from book.companion import drawing
from book.companion.attended import mask_energy, pictures, ranked_figure, ranked_lists
from book.companion.results import retrieval_rows
from book.companion.text.tables import MINUS, NOTHING
from dreal_lib import records
from dreal_lib.data.identities import open_identity_set
from dreal_lib.errors import UserError
from dreal_lib.tasks.retrieval import identity_facts

YES, NO = True, False
BEFORE, AFTER = (NO, YES, NO, YES, NO, YES), (NO, YES, YES, NO, YES, YES)


def compared(root):
    return retrieval_rows.compare_sets(records.find_records(root), "smoke", None)


def write_pair(root, seed=0, energies=((0.5,) * QUERIES,) * 2):
    for method, rank1, energy in zip(
        ("attention", "reinforced"), (BEFORE, AFTER), energies, strict=True
    ):
        arrays = figure_arrays(seed, rank1, energy)
        write_retrieval(root, method, seed=seed, arrays=arrays)


def test_of_each_outcome_the_query_drawn_first_is_shown(tmp_path):
    write_pair(tmp_path)
    lists = ranked_lists.load(compared(tmp_path))
    # Kept places run down from 5: number 1 is right in both, 2 then right, 3 then wrong.
    assert {name: shown.place for name, shown in lists.by_outcome.items()} == {
        "right in both": 4, "wrong, then right": 3, "right, then wrong": 2,
    }  # fmt: skip
    assert (
        "Of seed 0 there are 2 that both + attention and + reinforce answer right; "
        "2 that + attention answers wrong and + reinforce right; "
        "1 that + attention answers right and + reinforce wrong; 1 that both answer wrong."
    ) in lists.sentences[0]
    assert lists.sentences[1].startswith("Images of made-up are not shown here")


def test_what_is_shown_of_a_query(tmp_path):
    write_pair(tmp_path)
    arrays = figure_arrays(0, AFTER)
    shown = ranked_lists.load(compared(tmp_path)).by_outcome["wrong, then right"]
    assert [strip.method for strip in shown.strips] == ["attention", "reinforced"]
    strip = shown.strips[1]
    assert strip.first_rank == arrays["queries/first_rank"][3]
    assert strip.precision == pytest.approx(arrays["queries/average_precision"][3])
    assert strip.found == arrays["kept/right"][2].sum()
    assert [panel.right for panel in strip.top] == arrays["kept/right"][2].tolist()
    assert np.array_equal(strip.top[7].heat, arrays["cam/top"][2, 7])
    assert (shown.size, shown.matches, len(strip.top)) == ((16, 8), 3, FIRST)
    assert shown.answered == "that + attention answers wrong and + reinforce right"


def test_an_outcome_that_no_query_has_is_named(tmp_path):
    for method in ("baseline", "reinforced"):  # without + attention the baseline stands for it
        write_retrieval(tmp_path, method, arrays=figure_arrays(0, (YES,) * KEPT))
    lists = ranked_lists.load(compared(tmp_path))
    assert lists.by_outcome["right, then wrong"] is None
    assert "0 that baseline answers right and + reinforce wrong" in lists.sentences[0]


def test_the_seed_shown(tmp_path):
    write_pair(tmp_path, seed=1)
    write_pair(tmp_path, seed=2)
    assert "seed 1" in ranked_lists.load(compared(tmp_path)).sentences[0]
    assert "seed 2" in ranked_lists.load(compared(tmp_path), 2).sentences[0]
    nothing = ranked_lists.load(compared(tmp_path), 7)
    assert set(nothing.by_outcome.values()) == {None}


def test_runs_without_maps_say_so(tmp_path):
    for method in ("attention", "reinforced"):
        arrays = {k: v for k, v in figure_arrays().items() if not k.startswith(("cam", "pairs"))}
        write_retrieval(tmp_path, method, arrays=arrays)
    assert "These runs hold no maps" in ranked_lists.load(compared(tmp_path)).sentences[0]
    assert mask_energy.energy_sentences(compared(tmp_path))[0].startswith("Not measured here")
    assert len(mask_energy.energy_table(compared(tmp_path)).rows) == 1


@pytest.mark.parametrize("name", ["kept/place", "pairs/gallery"])
def test_runs_that_kept_other_images_are_not_set_against_each_other(tmp_path, name):
    other = figure_arrays()
    write_retrieval(tmp_path, "attention", arrays=other)
    write_retrieval(tmp_path, "reinforced", arrays=other | {name: other[name] + 1})
    lists = ranked_lists.load(compared(tmp_path))
    rows = mask_energy.energy_table(compared(tmp_path)).rows
    if name == "kept/place":
        assert set(lists.by_outcome.values()) == {None}
        assert "made on different images" in lists.sentences[0]
    else:
        assert [set(row) for row in rows] == [{NOTHING}]


def test_right_and_wrong_differ_in_line_and_sign(tmp_path):
    write_pair(tmp_path)
    shown = ranked_lists.load(compared(tmp_path)).by_outcome["wrong, then right"]
    figure = ranked_figure.draw_query(shown)
    (axis,) = figure.axes
    right = sum(strip.found for strip in shown.strips)
    wrong = 2 * FIRST - right
    words = [text.get_text() for text in axis.texts]
    assert sum(ranked_figure.TICK in word for word in words) == right
    assert sum(ranked_figure.CROSS in word for word in words) == wrong
    dashed = [patch for patch in axis.patches if patch.get_linestyle() not in ("-", "solid")]
    assert len(dashed) == wrong
    assert len(axis.patches) == 2 * FIRST + 2
    assert len(axis.images) == 2 * (FIRST + 1)  # maps alone: no picture may be shown
    assert drawing.to_svg(figure) == drawing.to_svg(ranked_figure.draw_query(shown))


def test_pictures_stand_above_their_maps(tmp_path):
    write_pair(tmp_path)
    shown = ranked_lists.load(compared(tmp_path)).by_outcome["wrong, then right"]
    pixels = np.zeros((16, 8, 3), dtype=np.uint8)
    strips = tuple(
        replace(
            strip,
            query=replace(strip.query, pixels=pixels),
            top=tuple(replace(panel, pixels=pixels) for panel in strip.top),
        )
        for strip in shown.strips
    )
    (axis,) = ranked_figure.draw_query(replace(shown, strips=strips)).axes
    assert len(axis.images) == 2 * 2 * (FIRST + 1)
    with pytest.raises(UserError, match="no ranked list to draw"):
        ranked_figure.draw_query(replace(shown, strips=()))


def test_energy_by_hand(tmp_path):
    before = (0.2, 0.3, 0.4, 0.5, np.nan, 0.2, 0.2, 0.2)
    after = (0.3, 0.3, 0.6, 0.5, 0.5, np.nan, 0.2, 0.2)
    write_pair(tmp_path, energies=(before, after))
    (row,) = mask_energy.energy_table(compared(tmp_path)).rows
    cells = [str(cell).replace("\N{NO-BREAK SPACE}", " ").replace(MINUS, "-") for cell in row]
    # On six pairs: means 1.8/6 and 2.1/6; 0.1, 0 of one identity, 0.2, 0 of another, 0, 0: mean
    # 0.05, sums less their share 0, 0.1, -0.1, half 4.302653 * sqrt(3/2 * 0.02) / 6 = 0.1242.
    assert cells[:6] == ["reinforce less attention ●", "0", "0.300", "0.350", "+0.050",
                         "-0.074 to +0.174"]  # fmt: skip
    assert cells[7] == "6 of 8"
    said = mask_energy.energy_sentences(compared(tmp_path))
    assert "0.250 of its energy" in said[0]
    assert "n = 6), not significant over pairs of images; one seed says nothing" in said[-1]


def test_energy_over_seeds(tmp_path):
    for seed, gain in enumerate((0.10, 0.11, 0.12)):
        write_pair(tmp_path, seed, ((0.3,) * QUERIES, (0.3 + gain,) * QUERIES))
    table = mask_energy.energy_table(compared(tmp_path))
    assert [row[1] for row in table.rows] == ["0", "1", "2", "all"]
    # mean 0.11, spread 0.01, half 4.302653 * 0.01 / sqrt(3) = 0.0248
    assert table.rows[3][4:6] == ("+0.110", "+0.085 to +0.135")
    said = mask_energy.energy_sentences(compared(tmp_path))[-1]
    assert "+0.110 ± 0.010 (95 % interval +0.085 to +0.135, n = 3), significantly better" in said


@pytest.fixture
def images(tmp_path):
    """An identity set of 20 images, each of one grey."""
    root = tmp_path / "set"
    root.mkdir()
    rows = ["file,identity,camera,split"]
    for number in range(20):
        split = "train" if number < 4 else "query" if number < 10 else "gallery"
        identity = f"t{number % 2}" if split == "train" else f"i{number % 2}"
        Image.new("RGB", (8, 16), (number,) * 3).save(root / f"{number:02}.png")
        rows.append(f"{number:02}.png,{identity},,{split}")
    (root / "index.csv").write_text("\n".join(rows) + "\n")
    return root


def record_of(root, folder, **changes):
    facts = identity_facts(open_identity_set(root)).model_dump() | changes
    return write_retrieval(folder, "attention", data=facts)


def test_pictures_of_a_data_root(images, tmp_path):
    record = record_of(images, tmp_path / "records")
    found = pictures.find_retrieval_pictures(record, [0, 5], [3], images)
    assert {place: pixels[0, 0, 0] for place, pixels in found.images.items()} == {0: 4, 5: 9}
    assert found.gallery[3][0, 0, 0] == 13
    assert found.source == "Images are read from the data root."


def test_a_data_root_of_another_set_is_refused(images, tmp_path):
    record = record_of(images, tmp_path / "records", fingerprint="0" * 64)
    with pytest.raises(UserError, match="does not hold the images of set that the run"):
        pictures.find_retrieval_pictures(record, [0], [0], images)


def test_pictures_that_may_not_be_passed_on_are_not_shown(images, tmp_path):
    record = record_of(images, tmp_path / "records")
    found = pictures.find_retrieval_pictures(record, [0], [0])
    assert not found.images
    assert "Images of set are not shown here" in found.source


def test_rendered_figures_are_read_or_rendered_anew(images, tmp_path, monkeypatch):
    from data_prep import embedded_figures

    record = record_of(images, tmp_path / "records", name=pictures.FIGURES)
    found = pictures.find_retrieval_pictures(record, [0], [0], prepared=images)
    assert found.images[0].shape == (16, 8, 3)
    prepared = tmp_path / "nowhere"
    monkeypatch.setattr(embedded_figures, "prepare", lambda out, workers: images)
    found = pictures.find_retrieval_pictures(record, [0], [0], prepared=prepared)
    assert found.source == "Images are rendered ones."
    (images / "20.png").write_bytes((images / "19.png").read_bytes())
    with (images / "index.csv").open("a") as index:
        index.write("20.png,i0,,gallery\n")
    found = pictures.find_retrieval_pictures(record, [0], [0], prepared=prepared)
    assert not found.gallery
    assert "not those that the generator renders by default" in found.source


def test_the_page_without_a_run_says_how_to_make_each(tmp_path, shown, run_page):
    said = run_page("retrieval", records_root=str(tmp_path))
    command = "dreal train table_2/resnet50_reinforced --profile smoke --seed 0 --threads 1"
    assert f"{command} --data DATA" in said
    assert said.count("dreal train ") == 3
    assert "There is no pair of runs to choose queries from yet." in said
    assert not any("image/svg+xml" in bundle for bundle, _ in shown)


def test_the_page_is_made_from_records_alone(tmp_path, shown, run_page):
    write_pair(tmp_path)
    said = run_page("retrieval", records_root=str(tmp_path))
    drawn = [meta["mystnb"] for bundle, meta in shown if "image/svg+xml" in bundle]
    names = [meta["figure"]["name"] for meta in drawn]
    assert names == ["fig-retrieved-right", "fig-retrieved-fixed", "fig-retrieved-broken"]
    assert all(meta["image"]["alt"].startswith("Rows of images") for meta in drawn)
    assert "2 recorded in" in said
