"""Runs of instance recognition sorted into the rows of Table 2, one part a data set.

Here a variant of a profile is another data set. On each, "+ attention" is compared with the
baseline and "+ reinforce" with "+ attention", seed by seed (`dreal_lib.comparison.rows`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from book.companion.text.foreign import plain
from book.companion.text.runs import distinct, trained_name
from dreal_lib.comparison.rows import NetworkComparison, Row
from dreal_lib.comparison.variations import Variation, VariationComparison, compare_variations
from dreal_lib.records import StoredRecord, scale_name

METHODS = ("baseline", "attention", "reinforced")
LABELS = {"baseline": "baseline", "attention": "+ attention", "reinforced": "+ reinforce"}
STEPS = (("baseline", "attention"), ("attention", "reinforced"))


# The data sets of each profile, by variant: a table has rows for them, run or not.
SETS: dict[str, dict[str | None, str]] = {
    "smoke": {None: "rendered figures"},
    "desktop": {
        "omniglot_long": "Omniglot, 1,920 steps",
        "omniglot": "Omniglot, 270 steps",
        "grocery": "Grocery Store",
    },
    "paper": {
        None: "Market-1501",
        "dukemtmc": "DukeMTMC-reID",
        "cuhk03_labelled": "CUHK03 (labelled)",
        "cuhk03_detected": "CUHK03 (detected)",
        "msmt17": "MSMT17",
    },
}


@dataclass(frozen=True)
class SetsComparison:
    """The runs of a page, one part a data set.

    Attributes:
        scale: What the page calls its scale: the profile, or profile and variant.
        parts: Each set's rows; `networks` of a part are the steps of `STEPS`.
    """

    scale: str
    parts: tuple[VariationComparison, ...]

    @property
    def rows(self) -> list[Row]:
        return [row for part in self.parts for row in part.rows]

    @property
    def runs(self) -> list[StoredRecord]:
        return [run for part in self.parts for run in part.runs]


def recipe_of(method: str) -> str:
    """The recipe of a row of Table 2."""
    return f"table_2/resnet50_{method}"


def compare_methods(
    stored: Sequence[StoredRecord], profile: str, variant: str | None
) -> VariationComparison:
    """The three rows of one data set, which may differ in network and method alone.

    Raises:
        UserError: See `dreal_lib.comparison.variations.compare_variations`.
    """
    own = frozenset(("network", "method", "seed"))
    steps = [
        Variation(recipe_of(second), recipe_of(first), second, LABELS[second], own)
        for first, second in STEPS
    ]
    return compare_variations(stored, profile, variant, steps)


def compare_sets(
    stored: Sequence[StoredRecord], profile: str, variant: str | None, every: bool = False
) -> SetsComparison:
    """The runs of one scale, or with `every` of each variant of the profile; errors as above.

    Variants that the table expects (`SETS`) have a part even without a run.
    """
    if not every:
        part = compare_methods(stored, profile, variant)
        return SetsComparison(scale_name(profile, variant), (part,))
    found = {
        run.record.variant
        for run in stored
        if run.record.profile == profile and run.record.task == "retrieval"
    }
    named = {v for v in found if not (v or "").startswith("custom")}  # of those no two are alike
    expected = SETS.get(profile, {})
    more = sorted(named - expected.keys(), key=str)
    parts = (compare_methods(stored, profile, v) for v in (*expected, *more))
    return SetsComparison(profile, tuple(parts))


def label_of(part: VariationComparison) -> str:
    """What a data set is called in a table."""
    known = SETS.get(part.profile, {}).get(part.variant)
    names = dict.fromkeys(plain(run.record.data.name) for run in part.runs)
    return known or ", ".join(names) or part.scale


def by_method(part: VariationComparison) -> dict[str, Row]:
    """The rows of a set."""
    return dict(zip(METHODS, part.rows, strict=True))


def steps_of(
    comparison: SetsComparison,
) -> Iterator[tuple[VariationComparison, NetworkComparison]]:
    """Each step of each data set."""
    return ((part, pair) for part in comparison.parts for pair in part.networks)


def step_label(pair: NetworkComparison) -> str:
    """What is subtracted from what, e.g. "reinforce less attention"."""
    return " less ".join(name.removeprefix("+ ") for name in (pair.label, against(pair)))


def against(pair: NetworkComparison) -> str:
    """What the second row of a step is compared with."""
    return LABELS[next(first for first, second in STEPS if second == pair.network)]


def _fit(part: VariationComparison) -> str:
    """How many training images end wrong: a network that has not learned its own says little."""
    left = [
        f"{LABELS[method].removeprefix('+ ')} {min(errors):.1f} to {max(errors):.1f} %"
        for method, row in by_method(part).items()
        if (errors := [run.history()["train_top1_error_pct"][-1] for run in row.runs])
    ]
    return f"Training images wrong in the last epoch, as they are augmented: {', '.join(left)}."


def facts(comparison: SetsComparison) -> list[str]:
    """What each set's runs were made on."""
    said = []
    for part in comparison.parts:
        if not part.runs:
            said.append(f"{label_of(part)} (scale {part.scale}): not run.")
            continue
        records = [run.record for run in part.runs]
        data, settings = records[0].data, records[0].settings
        height, width = settings["image_size"]
        networks = "; ".join(dict.fromkeys(map(trained_name, records)))
        cameras = f"{data.cameras} cameras" if data.cameras else "no cameras"
        said.append(
            f"{label_of(part)} (scale {part.scale}): {data.train_images:,} images of "
            f"{data.train_identities:,} identities for training; {data.query_images:,} queries and "
            f"{data.gallery_images:,} gallery images of other identities, {cameras}; {height} x "
            f"{width} px; {distinct(str(r.last.epoch) for r in records)} epochs; {networks}. "
            f"{_fit(part)}"
        )
    return said
