"""Which files a run depends on: read from imports, so tried on a small made-up project."""

from book.companion.reproduction.dependencies import files_of_a_run, files_reached, imported_files
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
            "pack/__init__.py": "",
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
        *direct, "pack/first.py", "pack/inner/__init__.py", "pack/inner/deep.py"
    }  # fmt: skip


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
