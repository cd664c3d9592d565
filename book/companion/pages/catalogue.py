"""The pages of the book: one specification each, and the check of what a notebook was given.

A new page is one entry of `PAGES` and its notebook. Checks refuse in one line, without torch.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from book.companion.papers.dreal import TABLE_1
from book.companion.papers.paper import Paper, paper_of, part_of
from dreal_lib.errors import UserError, unknown_choice
from dreal_lib.recipes.own_data import CUSTOM, OWN_DATA, without_own_data
from dreal_lib.records import scale_name
from dreal_lib.runtime.environment import PROJECT_ROOT

# By their files' names alone: `dreal_lib.recipes` would load more than a page needs.
RECIPES = PROJECT_ROOT / "dreal_lib" / "recipes"

Results = Literal["recorded", "rerun"]
SHADES = ("variance", "deviation")
# Sides in pixels: below, networks shrink images to nothing; above, a spatial map's critic outgrows
# the network.
IMAGE_SIZES = (32, 1024)

# The parameters of every page that shows runs, with their defaults.
RUNS: Mapping[str, object] = {
    "profile": "desktop",
    "variant": "default",
    "seeds": "all",
    "results": "recorded",
    "records_root": "",
    "data_root": "",
}


@dataclass(frozen=True)
class Specification:
    """What one page is.

    Attributes:
        name: Of the notebook; its prefix says which paper it belongs to.
        parameters: The names in its parameters cell, with their defaults; checks are in `CHECKS`.
        rows: The rows that it shows, as shell patterns; `{network}` stands for that parameter.
        beside: Rows of other tables that these are compared with.
        task: Whose runs it shows.
        variants: What `variant="default"` means by profile, else none; None: every variant of the
            profile, where a variant is another data set.
        made_from: Of a page without rows, what stands in their place.
        files: What else it reads, as patterns below the project's root.
    """

    name: str
    parameters: Mapping[str, object] = field(default_factory=lambda: RUNS)
    rows: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    task: str = "classification"
    variants: Mapping[str, str] | None = field(default_factory=lambda: {"desktop": "two_cores"})
    made_from: str = ""
    files: tuple[str, ...] = ()

    @property
    def paper(self) -> Paper:
        return paper_of(self.name)

    @property
    def title(self) -> str:
        """What it repeats: "DREAL, Table 1"; for a page of our own its name in place of it."""
        return f"{self.paper.name}, {part_of(self.name)}"

    @property
    def about_one_network(self) -> bool:
        return "network" in self.parameters and bool(self.rows)

    def shown(self, network: str) -> tuple[str, ...]:
        """The patterns of `rows` for a network."""
        return tuple(row.format(network=network) for row in self.rows)

    def read(self, network: str) -> tuple[str, ...]:
        """The patterns of all rows whose records it reads."""
        return self.shown(network) + self.beside


_PAIR = ("table_1/{network}_baseline", "table_1/{network}_reinforced")
_NETWORK: Mapping[str, object] = {**RUNS, "network": "se_resnet50"}
_DISTRIBUTIONS = {**_NETWORK, "shade": "variance", "shown_seed": "first"}
_EVIDENCE = {"desktop": "evidence"}
_PICTURES = {**_NETWORK, "profile": "smoke"}  # pictures of the smoke runs may be shown

PAGES: dict[str, Specification] = {
    page.name: page
    for page in (
        Specification(
            "fig_1",
            {"network": "se_resnet50", "image_size": 224},
            made_from="the library's code alone, by `book/companion/schematic/plan.py` and "
            "`book/companion/schematic/figure.py`",
        ),
        Specification(
            "cost",
            {"benchmarks_root": ""},
            made_from="`book/benchmarks`, which `make benchmark` leaves in `build/benchmarks`, by "
            "`book/companion/results/costs.py`",
            files=("book/benchmarks/*.json",),
        ),
        Specification("fig_2", _DISTRIBUTIONS, _PAIR),
        Specification("fig_3", _DISTRIBUTIONS, _PAIR),
        Specification("fig_4", _PICTURES, _PAIR),
        Specification("fig_5", _PICTURES, _PAIR),
        Specification(
            "spatial_maps", {**_NETWORK, "network": "cbam_resnet50", "shown_seed": "first"}, _PAIR
        ),
        Specification("table_1", rows=("table_1/*",)),
        # It is about critics, which a baseline has none of.
        Specification("fig_6", _NETWORK, ("table_1/{network}_reinforced",)),
        Specification("table_3", rows=("table_3/*",), beside=("table_1/srm_resnet101_*",)),
        Specification(
            "ablations", rows=("ablations/*",), beside=("table_1/*_resnet50_reinforced",)
        ),
        Specification("evidence", rows=("evidence/*",), variants=_EVIDENCE),
        Specification(
            "critic_gradient",
            rows=("evidence/*_reinforced", "evidence/se_resnet38_cells16"),
            variants=_EVIDENCE,
            files=("book/records/*/evidence/*/*.audit.npz",),
        ),
        Specification("dead_critics", rows=("evidence/se_resnet38_*",), variants=_EVIDENCE),
        Specification("table_2", rows=("table_2/*",), task="retrieval", variants=None),
        Specification(
            "retrieval",
            {**RUNS, "profile": "smoke", "shown_seed": "first"},
            ("table_2/*",),
            task="retrieval",
            variants={"desktop": "omniglot"},
        ),
        Specification("scoreboard", rows=("table_*/*", "ablations/*")),
        Specification(
            "reruns",
            {"results": "recorded", "benchmarks_root": ""},
            beside=("*/*",),
            made_from="the records of this machine and the committed ones, and "
            "`book/benchmarks/threads.json` of `tests/benchmarks/threads.py`, by "
            "`book/companion/results/reruns.py`",
            files=("book/benchmarks/threads.json",),
        ),
    )
}


@dataclass(frozen=True)
class Parameters:
    """What a notebook is to show; a page without one of these leaves it at its default.

    Attributes:
        profile: "smoke", "desktop" or "paper".
        variant: Named set of overrides, or None; with own data as in the name of their scale.
        seeds: Seeds wanted, or None for all there are.
        results: "recorded" reads the committed records alone; "rerun" takes the runs made on this
            machine, and committed ones for the rows that were not run again.
        records_root: Where the runs of `results` lie instead of the usual place, or None.
        data_root: The data that the commands on the page shall name, or None.
        network: The network that a page about one network shows.
        image_size: Side in pixels of the images for which a page shows shapes.
        shade: What is shaded around a mean, "variance" or "deviation".
        shown_seed: The seed that is drawn, or "first".
        benchmarks_root: Where benchmarks lie instead of the committed ones, or None.
        every_variant: The page shows all variants of the profile; `variant` is None then.
    """

    profile: str = "desktop"
    variant: str | None = None
    seeds: tuple[int, ...] | None = None
    results: Results = "recorded"
    records_root: Path | None = None
    data_root: Path | None = None
    network: str = "se_resnet50"
    image_size: int = 224
    shade: str = "variance"
    shown_seed: int | str = "first"
    benchmarks_root: Path | None = None
    every_variant: bool = False

    @property
    def scale(self) -> str:
        return scale_name(self.profile, self.variant)

    def covers(self, profile: str, variant: str | None) -> bool:
        """Whether a scale is one that the page itself shows, not one to stand beside."""
        return profile == self.profile and (self.every_variant or variant == self.variant)


def specification_of(page: str) -> Specification:
    """The specification of a page.

    Raises:
        UserError: No such page.
    """
    if page not in PAGES:
        raise unknown_choice("page", page, PAGES)
    return PAGES[page]


def check_parameters(page: str, given: Mapping[str, object]) -> Parameters:
    """Check what a notebook was given.

    Args:
        page: Name of the notebook, a key of `PAGES`.
        given: Parameter values by name, as papermill or a hand set them.

    Raises:
        UserError: An unknown (misspelt) name, a wrong type, or a value that cannot be.
    """
    spec = specification_of(page)
    for name in given:
        if name not in spec.parameters:
            raise unknown_choice(f"parameter of {page}", name, spec.parameters)
    values = {
        name: CHECKS[name](name, value) for name, value in {**spec.parameters, **given}.items()
    }
    if values.get("variant") == "default":
        every = spec.variants is None
        values |= {
            "every_variant": every,
            "variant": None if every else spec.variants.get(values["profile"]),
        }
    return Parameters(**values)


def _one_of(choices: Callable[[], object]) -> Callable[[str, object], str]:
    def check(name: str, value: object) -> str:
        known = list(choices())
        if not isinstance(value, str):
            raise UserError(f"parameter {name} must be text; got {value!r}; try {known[0]}")
        if value not in known:
            raise unknown_choice(name, value, known)
        return value

    return check


def _names(folder: str) -> list[str]:
    return sorted({path.stem for path in (RECIPES / folder).glob("*/*.yaml")})


def _variant(name: str, value: object) -> str | None:
    # papermill -p turns the word None into None.
    if value is None or value in ("", "none"):
        return None
    if isinstance(value, str) and OWN_DATA.fullmatch(value):  # as in the name of their scale
        named = without_own_data(value)
        if named is not None and not CUSTOM.fullmatch(named):
            _one_of(lambda: _names("variants"))(name, named)
        return value
    if isinstance(value, str) and CUSTOM.fullmatch(value):
        return value
    return _one_of(lambda: (*_names("variants"), "custom", "none", "default"))(name, value)


def _seeds(name: str, value: object) -> tuple[int, ...] | None:
    """Seeds from "all", "0,1", "[0, 1]", 0 or [0, 1]."""
    wanted = value
    if isinstance(value, str):
        if value.strip() == "all":
            return None
        text = value.strip() if value.strip().startswith("[") else f"[{value}]"
        try:
            wanted = json.loads(text)
        except ValueError:
            wanted = None
    if _is_whole(wanted):
        wanted = [wanted]
    fine = isinstance(wanted, list | tuple) and all(_is_whole(s) and s >= 0 for s in wanted)
    if not fine or not wanted:
        raise UserError(f'parameter {name} is "all" or whole numbers; got {value!r}; try "[0, 1]"')
    return tuple(sorted(set(wanted)))


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _shown_seed(name: str, value: object) -> int | str:
    if value != "first" and not (_is_whole(value) and value >= 0):
        raise UserError(f'parameter {name} is "first" or a seed; got {value!r}; try 0')
    return value


def _folder(name: str, value: object) -> Path | None:
    if value is None or value == "":
        return None
    if not isinstance(value, str | Path):
        raise UserError(f"parameter {name} must be the path of a folder; got {value!r}")
    folder = Path(value).expanduser()
    if not folder.is_dir():
        raise UserError(f"{name} {str(value)!r} is no folder; give one, or leave the parameter out")
    return folder


def check_image_size(name: str, value: object) -> int:
    """A side for which shapes can be shown.

    Raises:
        UserError: Not a whole number of pixels, or too few or too many.
    """
    least, most = IMAGE_SIZES
    if not _is_whole(value) or not least <= value <= most:
        raise UserError(
            f"{name} must be a whole number of pixels from {least} to {most}; got {value!r}; "
            "try 224"
        )
    return value


# What is checked of a parameter's value, by the parameter's name, on whatever page.
CHECKS: dict[str, Callable[[str, object], object]] = {
    "profile": _one_of(lambda: _names("profiles")),
    "variant": _variant,
    "seeds": _seeds,
    "results": _one_of(lambda: get_args(Results)),
    "records_root": _folder,
    "data_root": _folder,
    "network": _one_of(lambda: TABLE_1),
    "image_size": check_image_size,
    "shade": _one_of(lambda: SHADES),
    "shown_seed": _shown_seed,
    "benchmarks_root": _folder,
}
