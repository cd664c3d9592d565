"""Which files a run depends on: read from imports, so tried on a small made-up project."""

from book.companion.pages.catalogue import PAGES
from book.companion.reproduction.dependencies import (
    files_of_a_page,
    files_of_a_run,
    files_reached,
    imported_files,
)
from dreal_lib.runtime.environment import PROJECT_ROOT


def project(folder, files):
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def names(paths, root):
    return {path.relative_to(root).as_posix() for path in paths}


def test_packages_modules_and_names_of_modules_are_found(tmp_path):
    root = project(
        tmp_path,
        {
            "pack/__init__.py": "VERSION = 1\n",
            "pack/first.py": "import os\nfrom pack import second\nfrom pack.third import thing\n",
            "pack/second.py": "",
            "pack/third.py": "def lazy():\n    from pack.inner import deep\n",
            "pack/inner/__init__.py": "",
            "pack/inner/deep.py": "",
            "pack/apart.py": "",
        },
    )
    direct = names(imported_files(root / "pack/first.py", root), root)
    assert direct == {"pack/__init__.py", "pack/second.py", "pack/third.py"}
    everything = names(files_reached(root / "pack/first.py", root=root), root)
    assert everything == {
        *direct, "pack/first.py", "pack/inner/deep.py"
    }  # fmt: skip


def test_what_is_imported_for_types_alone_is_not_reached(tmp_path):
    text = (
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import b\nelse:\n    import c\n"
    )
    root = project(tmp_path, {"a.py": text, "b.py": "", "c.py": ""})
    assert names(files_reached(root / "a.py", root=root), root) == {"a.py", "c.py"}


def test_a_face_leads_to_the_modules_of_the_names_used_alone(tmp_path):
    files = {
        "pack/__init__.py": '"""Face."""\nfrom pack.one import f\nfrom .two import g as h\n'
        '__all__ = ["f", "h"]\n',
        "pack/one.py": "",
        "pack/two.py": "from pack.deep import x\n",
        "pack/deep.py": "",
        "module.py": "from pack.one import f\n",
        "name.py": "from pack import h\n",
        "whole.py": "import pack\n",
    }
    root = project(tmp_path, files)
    face = {"pack/__init__.py"}

    def reached(name):
        return names(files_reached(root / name, root=root), root) - {name}

    assert reached("module.py") == {"pack/one.py"}
    assert reached("name.py") == face | {"pack/two.py", "pack/deep.py"}
    assert reached("whole.py") == face | {"pack/one.py", "pack/two.py", "pack/deep.py"}
    # A face that does something is a file like any other.
    (root / "pack/__init__.py").write_text("print('here')\n")
    assert reached("module.py") == face | {"pack/one.py"}


def test_yaml_beside_a_file_that_names_it_is_reached(tmp_path):
    files = {"pack/a.py": "FILE = 'said.yaml'\n", "pack/said.yaml": "", "pack/other.yaml": ""}
    root = project(tmp_path, files)
    reached = names(files_reached(root / "pack/a.py", root=root), root)
    assert reached == {"pack/a.py", "pack/said.yaml"}


def test_a_page_depends_on_what_its_notebook_reaches_and_shows_alone():
    fig_2, table_1, board = (
        names(files_of_a_page(PAGES[page]), PROJECT_ROOT)
        for page in ("fig_2", "table_1", "scoreboard")
    )
    here = "book/companion"
    assert f"{here}/attention_maps/loaded.py" in fig_2
    assert "dreal_lib/diagnosis/complexity.py" in table_1 - fig_2
    assert not any(file.startswith(f"{here}/schematic") for file in fig_2 | table_1)
    rules = {f"{here}/pages/execute.py", "dreal_lib/records/schema.py"}
    assert rules <= fig_2 & table_1 & board
    statements = f"{here}/claims/dreal.yaml"
    assert statements in board & fig_2 & table_1
    assert f"{here}/claims/counted.py" in board - fig_2 - table_1
    baseline = "dreal_lib/recipes/table_1/se_resnet50_baseline.yaml"
    assert {file for file in fig_2 if file.endswith(".yaml")} == {
        statements, baseline, baseline.replace("baseline", "reinforced")
    }  # fmt: skip
    record = "book/records/desktop+two_cores/table_1/{}/seed0.json"
    shown, other = (record.format(f"{net}_baseline") for net in ("se_resnet50", "srm_resnet50"))
    assert shown in fig_2 & table_1
    assert other in table_1 - fig_2
    assert "book/benchmarks/step.json" in names(files_of_a_page(PAGES["cost"]), PROJECT_ROOT)


def test_every_notebook_has_its_specification():
    notebooks = {path.stem for path in (PROJECT_ROOT / "book" / "notebooks").glob("*.py")}
    assert notebooks == set(PAGES)


def test_a_circle_ends_and_what_is_left_out_is_not_entered(tmp_path):
    root = project(
        tmp_path,
        {"a.py": "import b\nimport c\n", "b.py": "import a\n", "c.py": "import d\n", "d.py": ""},
    )
    assert names(files_reached(root / "a.py", root=root), root) == {"a.py", "b.py", "c.py", "d.py"}
    without = files_reached(root / "a.py", {root / "c.py"}, root=root)
    assert names(without, root) == {"a.py", "b.py"}


def test_a_run_depends_on_its_own_task_row_and_scale_alone():
    classes = files_of_a_run("classification", "table_1/se_resnet50_baseline", "smoke", None)
    persons = files_of_a_run("retrieval", "table_2/resnet50_baseline", "desktop", "omniglot")
    classes, persons = (names(files, PROJECT_ROOT / "dreal_lib") for files in (classes, persons))
    both = {f"actor_critic/{name}.py" for name in ("agent", "reward")}
    both |= {"training/trainer.py", "training/runs.py", "recipes/schema.py"}
    both |= {f"records/{name}.py" for name in ("schema", "files", "companions")}
    assert both <= classes & persons
    assert {"tasks/classification.py", "recipes/classification.py"} <= classes - persons
    assert {
        "tasks/retrieval.py",
        "recipes/retrieval.py",
        "tasks/losses.py",
        "retrieval/ranking.py",
    } <= persons - classes
    assert {name for name in classes if name.endswith(".yaml")} == {
        "recipes/table_1/se_resnet50_baseline.yaml",
        "recipes/profiles/classification/smoke.yaml",
    }
    assert {name for name in persons if name.endswith(".yaml")} == {
        "recipes/table_2/resnet50_baseline.yaml",
        "recipes/profiles/retrieval/desktop.yaml",
        "recipes/variants/retrieval/omniglot.yaml",
    }
    assert "cli.py" not in classes | persons
