"""Pages: parameters refused in one line, runs found and labelled, nothing silently empty."""

import os
import types
from functools import partial

import jupytext
import nbformat
import papermill
import pytest
from synthetic_records import Costs, write_run

from book.companion.critics import curves, explorer, figures
from book.companion.pages import execute, footer, page
from book.companion.pages.catalogue import PAGES, Parameters, check_parameters
from book.companion.pages.execute import parse_parameters
from book.companion.pages.runs import find_runs
from book.companion.papers.dreal import TABLE_1
from book.companion.results import network_costs, table_1
from dreal_lib.errors import UserError

BASELINE, REINFORCED = "table_1/se_resnet50_baseline", "table_1/se_resnet50_reinforced"


def view_of(root, name="fig_6", compare=None, **parameters):
    given = {"profile": "smoke", "records_root": str(root), **parameters}
    return page.start(name, given, compare)


def texts(shown):
    return "\n".join(bundle["text/plain"] for bundle, _ in shown)


def test_the_defaults():
    found = check_parameters("table_1", {})
    assert found == Parameters(profile="desktop", variant="two_cores")
    assert found.scale == "desktop+two_cores"


@pytest.mark.parametrize(
    ("given", "field", "value"),
    [
        ({"profile": "smoke"}, "variant", None),
        ({"profile": "desktop", "variant": "none"}, "variant", None),
        ({"profile": "desktop", "variant": None}, "variant", None),
        ({"seeds": "all"}, "seeds", None),
        ({"seeds": "[1, 0, 1]"}, "seeds", (0, 1)),
        ({"seeds": "2,0"}, "seeds", (0, 2)),
        ({"seeds": 3}, "seeds", (3,)),
        ({"seeds": [0, 4]}, "seeds", (0, 4)),
        ({"records_root": ""}, "records_root", None),
        ({"network": "cbam_resnet50"}, "network", "cbam_resnet50"),
    ],
)
def test_parameters_are_read(given, field, value):
    assert getattr(check_parameters("fig_6", given), field) == value


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"profil": "smoke"}, "unknown parameter of fig_6 'profil'; did you mean 'profile'?"),
        ({"seed": 0}, "did you mean 'seeds'?"),
        ({"profile": "smok"}, "unknown profile 'smok'; did you mean 'smoke'?"),
        ({"profile": 3}, "profile must be text; got 3"),
        ({"variant": "two_core"}, "did you mean 'two_cores'?"),
        ({"variant": 2}, "variant must be text"),
        ({"results": "recordet"}, "did you mean 'recorded'?"),
        ({"seeds": "one"}, "seeds is \"all\" or whole numbers; got 'one'"),
        ({"seeds": "[]"}, "seeds is"),
        ({"seeds": [True]}, "seeds is"),
        ({"seeds": -1}, "seeds is"),
        ({"seeds": 1.5}, "seeds is"),
        ({"records_root": "/no/such/folder"}, "records_root '/no/such/folder' is no folder"),
        ({"data_root": 5}, "data_root must be the path of a folder"),
        ({"network": "resnet50"}, "unknown network 'resnet50'"),
    ],
)
def test_bad_parameters_are_refused_in_one_line(given, said):
    with pytest.raises(UserError) as refused:
        check_parameters("fig_6", given)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_parameter_of_another_page_is_unknown():
    with pytest.raises(UserError, match="unknown parameter of table_1 'network'"):
        check_parameters("table_1", {"network": "se_resnet50"})


def test_the_namespace_of_a_notebook_is_searched_for_unknown_names(tmp_path):
    fine = {"page": types, "_i": "hidden", "__name__": "__main__", "seeds": "[0]"}
    assert page.start("fig_6", fine | {"records_root": str(tmp_path)}).parameters.seeds == (0,)
    with pytest.raises(UserError, match="'sedes'; did you mean 'seeds'"):
        page.start("fig_6", {**fine, "sedes": "[0]"})


def test_a_refusal_is_rendered_without_a_traceback():
    assert UserError("one line")._render_traceback_() == ["one line"]


def test_a_bad_record_ends_the_page_in_one_line(tmp_path):
    write_run(tmp_path, REINFORCED)
    history = next(tmp_path.rglob("seed0.history.csv"))
    history.write_text(history.read_text() + "5,1,1,1,1,1,1,1,1,1,1\n")
    with pytest.raises(UserError, match=r"seed0\.history\.csv.*SHA-256 differs"):
        view_of(tmp_path)


def test_seeds_that_are_not_alike_end_the_page(tmp_path):
    write_run(tmp_path, REINFORCED, seed=0, epochs=4)
    write_run(tmp_path, REINFORCED, seed=1, epochs=5)
    with pytest.raises(UserError, match="differ in settings"):
        view_of(tmp_path)


def test_recorded_results_read_committed_records_alone(tmp_path):
    write_run(tmp_path / "book/records", BASELINE, seed=0)
    write_run(tmp_path / "build/records", BASELINE, seed=1)
    found = find_runs(Parameters(profile="smoke"), root=tmp_path)
    assert [(run.record.seed, run.origin) for run in found] == [(0, "recorded")]


def test_rerun_results_replace_whole_rows(tmp_path):
    committed, made_here = tmp_path / "book/records", tmp_path / "build/records"
    for seed in (0, 1):
        write_run(committed, BASELINE, seed=seed)
        write_run(committed, REINFORCED, seed=seed)
    write_run(committed, BASELINE, profile="desktop")
    write_run(made_here, BASELINE, seed=0)
    found = find_runs(Parameters(profile="smoke", results="rerun"), root=tmp_path)
    labels = [(r.record.scale, r.record.recipe, r.record.seed, r.origin) for r in found]
    assert labels == [
        ("smoke", BASELINE, 0, "re-run"),
        ("desktop", BASELINE, 0, "recorded"),
        ("smoke", REINFORCED, 0, "recorded"),
        ("smoke", REINFORCED, 1, "recorded"),
    ]


def test_a_page_that_was_not_rerun_shows_the_records_and_says_so(tmp_path, shown, monkeypatch):
    for folder, profile, variant in (
        ("book", "desktop", "two_cores"), ("book", "smoke", None), ("build", "smoke", None)
    ):  # fmt: skip
        recipe = REINFORCED if folder == "book" else "table_1/srm_resnet50_reinforced"
        write_run(tmp_path / folder / "records", recipe, profile=profile, variant=variant)
    monkeypatch.setattr(page, "find_runs", partial(find_runs, root=tmp_path))
    view = page.start("fig_6", {"results": "rerun", "profile": "smoke", "variant": "none"})
    assert (view.parameters.scale, view.origin) == ("desktop+two_cores", "recorded")
    assert "Not run again" in texts(shown)
    assert "at scale smoke. It shows the committed records (●), at scale desktop+two_cores" in (
        texts(shown)
    )
    shown.clear()
    write_run(tmp_path / "build" / "records", REINFORCED)
    view = page.start("fig_6", {"results": "rerun", "profile": "smoke", "variant": "none"})
    assert (view.parameters.scale, view.origin) == ("smoke", "re-run")
    assert not shown


def test_seeds_are_those_of_the_pages_own_scale(tmp_path):
    for seed in (0, 1):
        write_run(tmp_path / "book/records", BASELINE, seed=seed)
        write_run(tmp_path / "book/records", BASELINE, seed=seed, profile="desktop")
    found = find_runs(Parameters(profile="smoke", seeds=(1,)), root=tmp_path)
    labels = [(run.record.scale, run.record.seed) for run in found]
    assert labels == [("desktop", 0), ("desktop", 1), ("smoke", 1)]


def test_rerun_without_runs_shows_the_committed_ones(tmp_path):
    write_run(tmp_path / "book/records", BASELINE)
    found = find_runs(Parameters(profile="smoke", results="rerun"), root=tmp_path)
    assert [run.origin for run in found] == ["recorded"]


def test_a_figure_comes_with_caption_alt_text_and_label(tmp_path, shown):
    write_run(tmp_path, REINFORCED, maps=("layer1.0",))
    view = view_of(tmp_path)
    blocks = curves.load_blocks(view.runs)
    view.figure(
        figures.critique_and_reward,
        blocks,
        caption="A\n caption.",
        alt="Alt.",
        label="fig",
    )
    ((bundle, metadata),) = shown
    assert bundle["image/svg+xml"].lstrip().startswith("<?xml")
    assert bundle["text/plain"] == "Alt."
    assert bundle["text/csv"].splitlines()[0] == ",".join(blocks.columns)
    assert metadata["mystnb"]["figure"] == {"caption": "A caption.", "name": "fig"}
    assert metadata["mystnb"]["image"]["alt"] == "Alt."


def test_where_there_is_no_run_the_page_says_how_to_make_one(
    tmp_path, shown, monkeypatch, run_page
):
    monkeypatch.setattr(explorer, "CurveExplorer", lambda blocks: None)
    given = {"profile": "smoke", "records_root": str(tmp_path)}
    said = run_page("fig_6", seeds="[0, 2]", data_root=str(tmp_path), **given)
    for seed in (0, 2):
        command = (
            f"dreal train {REINFORCED} --profile smoke --seed {seed} --threads 1 --data {tmp_path}"
        )
        assert f"{command}\n" in said
    assert "baseline" not in said
    assert "SE-ResNet-50 was not run at scale smoke yet." in said
    assert "Records: none at scale smoke" in said
    assert "No run for this table" in said
    assert "nothing can be said" in said
    assert not any("image/svg+xml" in bundle for bundle, _ in shown)


def test_the_table_page_says_which_rows_were_not_run(tmp_path, shown):
    write_run(tmp_path, BASELINE)
    view = view_of(tmp_path, "table_1", table_1.compare_networks)
    view.missing()
    said = texts(shown)
    assert said.count("dreal train") == 11
    assert f"dreal train {BASELINE} " not in said


def test_other_scales_are_shown_apart(tmp_path):
    write_run(tmp_path, BASELINE)
    write_run(tmp_path, BASELINE, profile="desktop", variant="two_cores", top1=(33.25, 33.0))
    write_run(tmp_path, BASELINE, variant="custom", top1=(11.25, 11.0))
    view = view_of(tmp_path, "table_1", table_1.compare_networks)
    # Hand-made overrides are nobody's scale.
    assert [comparison.scale for comparison in view.other_scales] == ["desktop+two_cores"]


def test_the_footer_says_how_the_page_was_made(tmp_path, shown):
    write_run(tmp_path, REINFORCED, seed=0, wall_seconds=61.5)
    write_run(tmp_path, REINFORCED, seed=1, git={"commit": None, "clean": None}, threads=2)
    write_run(tmp_path, REINFORCED, seed=2, complete=False)
    view_of(tmp_path).footer()
    said = texts(shown)
    assert "dreal execute book/notebooks/fig_6.py fig_6.ipynb -p profile=smoke" in said
    assert f"2 recorded in `{tmp_path}/smoke`" in said
    assert "made-up, 10 classes, 400 + 100 images, fingerprint `ffffffffffff`" in said
    assert "`c0ffeec0ffee` (clean); none (not run in a clone)" in said
    assert "Test CPU, 2 cores, threads not kept; Test CPU, 2 cores, 2 threads" in said
    assert "2 min 03 s in all" in said
    assert "stopped early" in said
    assert "seed2.json" in said
    assert "dreal train table_1/se_resnet50_reinforced --profile smoke --seed 1" in said


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.6, "1 min 00 s"), (125, "2 min 05 s"), (3725, "1 h 02 min")],
)
def test_durations(seconds, text):
    assert footer.duration(seconds) == text


def write_notebook(path, *cells):
    """A py:percent notebook with a parameters cell and further cells."""
    parameters = '# %% tags=["parameters"]\ncount = 3\nname = "x"\n'
    path.write_text("\n".join([parameters, *(f"# %%\n{cell}\n" for cell in cells)]))
    return path


def test_execution_is_clean_and_repeats_to_the_byte(tmp_path):
    source = write_notebook(tmp_path / "n.py", "print(count, name)")
    for out in ("one.ipynb", "two.ipynb"):
        execute.execute_notebook(source, tmp_path / out, {"count": 5})
    assert (tmp_path / "one.ipynb").read_bytes() == (tmp_path / "two.ipynb").read_bytes()
    notebook = nbformat.read(tmp_path / "one.ipynb", as_version=4)
    nbformat.validate(notebook)
    assert notebook.cells[-1].outputs[0].text == "5 x\n"
    assert [cell.id for cell in notebook.cells] == ["cell-00", "cell-01", "cell-02"]
    assert "papermill" not in notebook.metadata


def test_a_failing_notebook_leaves_nothing_behind(tmp_path):
    source = write_notebook(tmp_path / "n.py", "raise KeyError('lost')")
    out = tmp_path / "out.ipynb"
    out.write_text("old")
    with pytest.raises(UserError, match=r"^n\.py: KeyError: 'lost'$"):
        execute.execute_notebook(source, out)
    assert out.read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["n.py", "out.ipynb"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"cuont": 1}, "unknown parameter of n.py 'cuont'; did you mean 'count'?"),
        ({"count": "many"}, "parameter count must be int, as its default 3; got 'many'"),
        ({"name": 4}, "parameter name must be str"),
    ],
)
def test_parameters_are_refused_before_anything_runs(tmp_path, given, said):
    source = write_notebook(tmp_path / "n.py", "open('ran', 'w')")
    with pytest.raises(UserError) as refused:
        execute.execute_notebook(source, tmp_path / "out.ipynb", given)
    assert said in str(refused.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["n.py"]


def test_a_parameter_of_a_page_is_refused_before_anything_runs(tmp_path):
    with pytest.raises(UserError, match="did you mean 'smoke'"):
        execute.execute_notebook(
            execute.FOLDER / "fig_6.py", tmp_path / "out.ipynb", {"profile": "smok"}
        )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("source", "out", "said"),
    [
        ("gone.py", "out.ipynb", "cannot read notebook"),
        ("n.txt", "out.ipynb", r"a notebook is a \.py or an \.ipynb"),
        ("n.py", "out.html", "an executed notebook is an .ipynb"),
    ],
)
def test_what_is_no_notebook_is_refused(tmp_path, source, out, said):
    write_notebook(tmp_path / "n.py")
    (tmp_path / "n.txt").write_text("x")
    with pytest.raises(UserError, match=said):
        execute.execute_notebook(tmp_path / source, tmp_path / out)


def test_plain_papermill_refuses_a_misspelt_parameter_from_anywhere(tmp_path):
    """papermill itself only warns; the notebook's own first call ends it."""
    # A page that needs no torch, which takes longer to import than all the rest.
    jupytext.write(jupytext.read(execute.FOLDER / "table_3.py"), tmp_path / "t.ipynb")
    with pytest.raises(papermill.PapermillExecutionError) as refused:
        papermill.execute_notebook(
            str(tmp_path / "t.ipynb"),
            str(tmp_path / "out.ipynb"),
            {"profil": "smoke"},
            cwd=str(tmp_path),
            progress_bar=False,
        )
    last = str(refused.value).strip().splitlines()[-1]
    assert last.startswith("unknown parameter of table_3 'profil'; did you mean 'profile'?")
    executed = nbformat.read(tmp_path / "out.ipynb", as_version=4)
    outputs = [output for cell in executed.cells for output in cell.get("outputs", [])]
    (error,) = [output for output in outputs if output.output_type == "error"]
    assert len(error.traceback) == 1


def test_fig_6_is_made_from_records_alone(tmp_path, shown, run_page):
    write_run(tmp_path, REINFORCED, maps=("layer1.0", "layer4.0"))
    run_page("fig_6", profile="smoke", records_root=str(tmp_path))
    drawn = [metadata["mystnb"] for bundle, metadata in shown if "image/svg+xml" in bundle]
    assert len(drawn) == 3
    assert all(meta["figure"]["caption"] and meta["image"]["alt"] for meta in drawn)


def test_table_1_is_made_from_records_alone(tmp_path, run_page, monkeypatch):
    write_run(tmp_path, BASELINE, top1=(41.25, 40.0))
    write_run(tmp_path, REINFORCED, top1=(43.75, 43.0))
    monkeypatch.setattr(network_costs, "table_1_costs", lambda network: Costs())
    monkeypatch.setattr(page.Page, "glue", lambda self, name, text: None)
    said = run_page("table_1", profile="smoke", records_root=str(tmp_path)).replace(
        "\N{NO-BREAK SPACE}", " "
    )
    assert TABLE_1["se_resnet50"].reinforced.top1.printed in said
    assert " 41.25 ± — |" in said
    assert " 43.75 ± — |" in said
    assert "top-1 +2.50 ± — points (n = 1: one seed, no interval)" in said


@pytest.mark.parametrize("name", sorted(PAGES))
def test_a_page_names_its_parameters_as_they_are_checked(name):
    """The parameters cell and the check agree, in names and in defaults."""
    notebook = jupytext.read(execute.FOLDER / f"{name}.py")
    (cell,) = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])]
    written: dict[str, object] = {}
    exec(cell.source, written)
    del written["__builtins__"]
    assert written == PAGES[name].parameters


@pytest.mark.parametrize("name", sorted(PAGES))
def test_a_notebook_holds_no_logic(name):
    source = (execute.FOLDER / f"{name}.py").read_text()
    code = [line for line in source.splitlines() if not line.startswith("#")]
    for word in ("def ", "for ", "while ", "try", "if ", "lambda"):
        assert not any(line.lstrip().startswith(word) for line in code), word


@pytest.mark.parametrize(
    "text",
    [
        "010",
        "1",
        "-2",
        "0.5",
        "1e3",
        "nan",
        "1_000",
        "True",
        "true",
        "None",
        "",
        " x ",
        "a #b",
        "a: b",
    ],
)
def test_a_parameter_is_what_papermill_makes_of_it(text):
    from papermill.cli import _resolve_type

    assert repr(parse_parameters([f"a={text}"])["a"]) == repr(_resolve_type(text))


def test_a_list_of_parameters():
    assert parse_parameters(["seeds=[0, 010]", "a=[]"]) == {"seeds": [0, 10], "a": []}
    with pytest.raises(UserError, match="NAME=VALUE; got 'seeds'"):
        parse_parameters(["seeds"])


def test_a_readers_own_settings_do_not_reach_a_notebook(tmp_path, monkeypatch):
    """One kernel: its home cannot be written to, and a start-up file would end it."""
    startup = tmp_path / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "own.py").write_text("count = 'own'\nraise SystemExit")
    own = {"HOME": "/proc/none", "IPYTHONDIR": str(tmp_path / "ipython"), "MPLBACKEND": "none"}
    own |= {"JUPYTER_RUNTIME_DIR": "/proc/none", "JUPYTER_CONFIG_DIR": "/proc/none"}
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    source = write_notebook(tmp_path / "n.py", "import matplotlib.figure", "print(count)")
    execute.execute_notebook(source, tmp_path / "out.ipynb")
    outputs = nbformat.read(tmp_path / "out.ipynb", as_version=4).cells[-1].outputs
    assert [output.get("text") for output in outputs] == ["3\n"]
    assert all(os.environ[name] == value for name, value in own.items())
