"""The parameters of the book's notebooks, checked in one place, in one line an error."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from book.companion.papers.dreal import TABLE_1
from book.companion.schematic.image_size import check_image_size
from dreal_lib.errors import UserError, unknown_choice
from dreal_lib.records import scale_name
from dreal_lib.runtime.environment import PROJECT_ROOT

# By their files' names alone: `dreal_lib.recipes` would load torch, which a page can do without.
RECIPES = PROJECT_ROOT / "dreal_lib" / "recipes"

Results = Literal["recorded", "rerun"]

_COMMON = ("profile", "variant", "seeds", "results", "records_root", "data_root")

# The parameters of each notebook, by its name.
PAGES: dict[str, tuple[str, ...]] = {
    "fig_1": ("network", "image_size"),
    "cost": ("benchmarks_root",),
    "fig_2": (*_COMMON, "network", "shade", "shown_seed"),
    "fig_3": (*_COMMON, "network", "shade", "shown_seed"),
    "fig_4": (*_COMMON, "network"),
    "fig_5": (*_COMMON, "network"),
    "spatial_maps": (*_COMMON, "network", "shown_seed"),
    "table_1": _COMMON,
    "fig_6": (*_COMMON, "network"),
    "table_3": _COMMON,
    "ablations": _COMMON,
    "table_2": _COMMON,
    "retrieval": (*_COMMON, "shown_seed"),
    "scoreboard": _COMMON,
}

# Where a page begins elsewhere than `Parameters` does. Pictures of the smoke runs may be shown.
PAGE_DEFAULTS: dict[str, dict[str, object]] = {
    "fig_4": {"profile": "smoke"},
    "fig_5": {"profile": "smoke"},
    "spatial_maps": {"network": "cbam_resnet50"},
    "retrieval": {"profile": "smoke"},
}

SHADES = ("variance", "deviation")

# The variant that `variant="default"` means; a profile that is not named here is run as it is.
DEFAULT_VARIANTS = {"desktop": "two_cores"}
PAGE_VARIANTS = {"retrieval": {"desktop": "omniglot"}}
# Pages of the retrieval task; a variant of the other one means nothing to them.
RETRIEVAL_PAGES = ("table_2", "retrieval")
# For these it means every variant of the profile, as a variant is another data set there.
EVERY_VARIANT = ("table_2",)


@dataclass(frozen=True)
class Parameters:
    """What a notebook is to show.

    Attributes:
        profile: "smoke", "desktop" or "paper".
        variant: Named set of overrides, or None.
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


def check_parameters(page: str, given: Mapping[str, object]) -> Parameters:
    """Check what a notebook was given.

    Args:
        page: Name of the notebook, a key of `PAGES`.
        given: Parameter values by name, as papermill or a hand set them.

    Raises:
        UserError: An unknown (misspelt) name, a wrong type, or a value that cannot be.
    """
    if page not in PAGES:
        raise unknown_choice("page", page, PAGES)
    for name in given:
        if name not in PAGES[page]:
            raise unknown_choice(f"parameter of {page}", name, PAGES[page])
    given = {**PAGE_DEFAULTS.get(page, {}), **given}
    profile = _choice("profile", given.get("profile", "desktop"), _names("profiles"))
    variant = given.get("variant", "default")
    every = page in EVERY_VARIANT and variant == "default"
    defaults = PAGE_VARIANTS.get(page, DEFAULT_VARIANTS)
    return Parameters(
        profile=profile,
        variant=None if every else _variant(profile, variant, defaults),
        seeds=_seeds(given.get("seeds", "all")),
        results=_choice("results", given.get("results", "recorded"), get_args(Results)),
        records_root=_folder("records_root", given.get("records_root", "")),
        data_root=_folder("data_root", given.get("data_root", "")),
        network=_choice("network", given.get("network", "se_resnet50"), TABLE_1),
        image_size=check_image_size(given.get("image_size", 224)),
        shade=_choice("shade", given.get("shade", "variance"), SHADES),
        shown_seed=_shown_seed(given.get("shown_seed", "first")),
        benchmarks_root=_folder("benchmarks_root", given.get("benchmarks_root", "")),
        every_variant=every,
    )


def _names(folder: str) -> list[str]:
    return sorted({path.stem for path in (RECIPES / folder).glob("*/*.yaml")})


def _choice(name: str, value: object, choices) -> str:
    if not isinstance(value, str):
        raise UserError(f"parameter {name} must be text; got {value!r}; try {next(iter(choices))}")
    if value not in choices:
        raise unknown_choice(name, value, choices)
    return value


def _variant(profile: str, value: object, defaults: Mapping[str, str]) -> str | None:
    # papermill -p turns the word None into None.
    if value is None or value in ("", "none"):
        return None
    if value == "default":
        return defaults.get(profile)
    return _choice("variant", value, (*_names("variants"), "custom", "none", "default"))


def _seeds(value: object) -> tuple[int, ...] | None:
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
    if isinstance(wanted, int) and not isinstance(wanted, bool):
        wanted = [wanted]
    fine = isinstance(wanted, list | tuple) and all(
        isinstance(seed, int) and not isinstance(seed, bool) and seed >= 0 for seed in wanted
    )
    if not fine or not wanted:
        raise UserError(f'parameter seeds is "all" or whole numbers; got {value!r}; try "[0, 1]"')
    return tuple(sorted(set(wanted)))


def _shown_seed(value: object) -> int | str:
    if value == "first":
        return "first"
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise UserError(f'parameter shown_seed is "first" or a seed; got {value!r}; try 0')
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
