"""Imports point downwards: reads them with ast and holds dreal_lib to the layers given here."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from dreal_lib.dependencies import imported_names

ROOT = Path(__file__).resolve().parents[2]

# A module imports from its own layer or a lower one, never in a circle. A package counts as one
# module. `dreal_lib` itself (its __init__) is the outside's door: no module inside goes through it.
LAYERS = {
    "ground": {
        "api_reference", "atomic", "attention", "critic", "deadline", "dependencies",
        "determinism", "distributed", "environment", "errors", "losses", "map_scores", "one_batch",
        "paper", "planned_runs", "reranking", "retrieval", "retrieval_settings", "reward",
        "sampling", "seeding", "settings", "similarity", "statements",
    },
    "first floor": {
        "archive", "backbones", "batches", "blocks", "boxes", "cache", "checkpoints", "complexity",
        "counterfactual", "decoding", "downloads", "drawn_queries", "embedding", "identities",
        "identity_batches", "images", "normalization", "oracle", "parameters", "recipes", "records",
        "run_folder",
    },
    "second floor": {
        "ablations", "agent", "attended", "attended_text", "attention_claims", "attention_measures",
        "backlog", "baseline", "channel_attention", "chosen_images", "classification", "compare",
        "costs", "counted_claims", "critic_audit", "critic_text", "curve_text", "curves",
        "drawn_numbers", "embedding_cam", "error_claims", "estimates", "evaluation", "evidence",
        "identification", "inactive", "localization", "map_claims", "mask_energy", "monitor",
        "notebooks", "optimization", "page_rows", "page_runs", "pictures", "printed_claims",
        "provenance", "ranked_lists", "retrieval_rows", "retrieved", "run_audit", "run_record",
        "runs", "schematic", "schematic_text", "scoreboard", "spatial_attention", "table_1",
        "table_2", "table_3", "tables", "task", "training", "variations", "verdicts",
    },
    "roof": {
        "attention_figures", "cli", "curve_figures", "display", "figures", "front_page",
        "interactive", "overlays", "page", "retrieval_figure", "schematic_figure", "workflow",
    },
}  # fmt: skip


def module_of(path: Path, package: Path) -> str:
    """First part below the package: recipes/__init__.py is 'recipes', critic.py 'critic'."""
    return path.relative_to(package).parts[0].removesuffix(".py")


def import_graph(package: Path) -> dict[str, set[str]]:
    """Each module of the package and the modules of it that it imports."""
    files = sorted(package.rglob("*.py"))
    modules = {module_of(path, package) for path in files}
    graph: dict[str, set[str]] = {module: set() for module in modules}
    for path in files:
        module = module_of(path, package)
        parts = (package.name, *path.relative_to(package).parts[:-1])
        for name in imported_names(ast.parse(path.read_text()), parts):
            root, *rest = name.split(".")
            if root == package.name:
                # `from dreal_lib import x` is a module if there is one, else a name of the door.
                inner = len(rest) > 1 or set(rest) & modules
                target = rest[0] if inner else "__init__"
                graph[module] |= {target} - {module}
    return graph


def violations(graph: dict[str, set[str]], layers: dict[str, set[str]]) -> list[str]:
    """One line for each import that the layers do not allow, and for each module not in them."""
    rank = {module: i for i, members in enumerate(layers.values()) for module in members}
    floors = list(layers)
    lines = [
        f"dreal_lib.{module} is in no layer; add it to LAYERS in tests/project/test_layers.py, "
        "as low as its imports allow"
        for module in sorted(graph.keys() - rank.keys() - {"__init__"})
    ]
    inner = {module: targets for module, targets in graph.items() if module != "__init__"}
    for module, targets in sorted(inner.items()):
        for target in sorted(targets):
            if target == "__init__":
                lines.append(f"{module} imports from dreal_lib itself; import from the module")
            elif rank.get(target, -1) > rank.get(module, len(floors)):
                lines.append(
                    f"{module} ({floors[rank[module]]}) imports {target} ({floors[rank[target]]}); "
                    "move what both need to a lower layer"
                )
    try:
        TopologicalSorter(inner).prepare()
    except CycleError as error:
        lines.append(f"imports in a circle: {' -> '.join(reversed(error.args[1]))}")
    return lines


def write_package(folder: Path, files: dict[str, str]) -> Path:
    package = folder / "dreal_lib"
    for name, text in {"__init__.py": "", **files}.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(text)
    return package


def test_imports_point_downwards():
    lines = violations(import_graph(ROOT / "dreal_lib"), LAYERS)
    assert not lines, "\n".join(lines)


def test_no_module_stands_in_two_layers():
    members = [module for layer in LAYERS.values() for module in layer]
    assert len(members) == len(set(members))


def test_data_prep_stands_alone():
    for path in (ROOT / "data_prep").rglob("*.py"):
        parts = ("data_prep", *path.relative_to(ROOT / "data_prep").parts[:-1])
        names = imported_names(ast.parse(path.read_text()), parts)
        assert not {n for n in names if n.split(".")[0] == "dreal_lib"}, path.name


def test_an_upward_import_is_found(tmp_path):
    package = write_package(
        tmp_path,
        {
            "critic.py": "def f():\n    from dreal_lib.training import train\n",
            "training.py": "import dreal_lib.critic as critic\nfrom . import reward\n",
            "reward.py": "from dreal_lib import critic\n",
        },
    )
    graph = import_graph(package)
    assert graph["training"] == {"critic", "reward"}
    assert graph["reward"] == {"critic"}
    upward, circle = violations(graph, LAYERS)
    assert upward.startswith("critic (ground) imports training (second floor)")
    assert circle.startswith("imports in a circle: ")
    assert {"critic", "training"} <= set(circle.removeprefix("imports in a circle: ").split(" -> "))


def test_a_circle_within_a_layer_is_found(tmp_path):
    package = write_package(
        tmp_path,
        {
            "batches.py": "from dreal_lib.records import Record\n",
            "records.py": "import dreal_lib.recipes\n",
            "recipes/__init__.py": "from .loader import load\nfrom ..batches import read\n",
            "recipes/loader.py": "from . import schema\n",
            "recipes/schema.py": "import json\n",
        },
    )
    graph = import_graph(package)
    assert graph["recipes"] == {"batches"}
    (circle,) = violations(graph, LAYERS)
    assert set(circle.split(": ")[1].split(" -> ")) == {"batches", "recipes", "records"}


def test_an_unknown_module_and_the_front_door_are_refused(tmp_path):
    package = write_package(
        tmp_path,
        {"shiny.py": "", "cli.py": "from dreal_lib import reinforce\nimport torch\n"},
    )
    unknown, front_door = violations(import_graph(package), LAYERS)
    assert "dreal_lib.shiny is in no layer; add it" in unknown
    assert front_door == "cli imports from dreal_lib itself; import from the module"
