"""Table 3: the top-1 error of SRM-ResNet-101 with DREAL on one stage alone (appendix B.3).

'None' and 'all' are Table 1's runs. A stage is compared with none, seed by seed, under the rule of
`dreal_lib.comparison.rows`.
"""

from collections.abc import Sequence

from book.companion.papers import dreal
from book.companion.papers.names import STAGES, stage_name
from book.companion.text.differences import (
    DIFFERENCE_COLUMNS,
    error_cells,
    lower_text,
    marked,
    variation_cells,
)
from book.companion.text.tables import NOTHING, Cell, Marked, Table, signed
from dreal_lib.comparison.rows import NetworkComparison, Row, is_paper_scale
from dreal_lib.comparison.variations import Variation, VariationComparison, compare_variations
from dreal_lib.records import StoredRecord

NETWORK = "srm_resnet101"
BASELINE = f"table_1/{NETWORK}_baseline"
ALL = f"table_1/{NETWORK}_reinforced"
LABELS = {stage: stage_name(stage) for stage in STAGES} | {
    "none": "none (baseline)",
    "all": "all stages",
}


def recipe_of(stage: str) -> str:
    """The recipe of a column of Table 3: a stage, "none" or "all"."""
    return {"none": BASELINE, "all": ALL}.get(stage, f"table_3/{NETWORK}_{stage}_reinforced")


def compare_stages(
    stored: Sequence[StoredRecord], profile: str, variant: str | None
) -> VariationComparison:
    """The runs of one scale, each stage alone and all of them against none.

    Raises:
        UserError: See `dreal_lib.comparison.variations.compare_variations`.
    """
    variations = [
        Variation(recipe_of(stage), BASELINE, NETWORK, LABELS[stage], frozenset(keys))
        for stage, keys in {
            **dict.fromkeys(STAGES, ("method", "stages")),
            "all": ("method",),
        }.items()
    ]
    return compare_variations(stored, profile, variant, variations)


def published_errors() -> Table:
    """Table 3 as printed, and the differences that it means."""
    none = dreal.TABLE_3["none"].value
    rows = [
        (
            LABELS[stage],
            error.printed,
            NOTHING if stage == "none" else signed(error.value - none, 3),
        )
        for stage, error in dreal.TABLE_3.items()
    ]
    columns = ("DREAL on", Marked("Top-1", "published"), Marked("To none", "computed"))
    return Table.of(columns, rows)


def our_errors(comparison: VariationComparison) -> Table:
    """Our errors at one scale, and the differences to none.

    At the paper's own scale its numbers stand beside them; at any other they do not.
    """
    beside = is_paper_scale(comparison)

    def line(stage: str, row: Row, cells: Sequence[str]) -> tuple[Cell, ...]:
        printed = (dreal.TABLE_3[stage].printed,) if beside else ()
        return (marked(LABELS[stage], row, comparison.scale), *cells[:2], *printed, *cells[2:])

    rows = [
        line(stage, pair.reinforced, variation_cells(pair))
        for stage, pair in _by_stage(comparison).items()
    ]
    none = comparison.networks[0].baseline
    alone = (*error_cells(none), NOTHING, NOTHING, str(len(none.seeds)), NOTHING)
    rows.insert(len(STAGES), line("none", none, alone))
    paper_column = (Marked("Paper", "published"),) if beside else ()
    columns = (
        "DREAL on",
        "Top-1 last",
        "Top-1 best",
        *paper_column,
        "To none",
        *DIFFERENCE_COLUMNS,
    )
    return Table.of(columns, rows)


def published_sentence() -> str:
    """What the paper's Table 3 says."""
    none = dreal.TABLE_3["none"].value
    gains = [none - dreal.TABLE_3[stage].value for stage in STAGES]
    order = "the more the deeper the stage" if gains == sorted(gains) else "in no order of depth"
    full = none - dreal.TABLE_3["all"].value
    said = lower_text(gains, "stages alone", "none")
    return (
        f"{said}, {order}; all together by {full:.2f}. It gives one number a stage and no spread."
    )


def _by_stage(comparison: VariationComparison) -> dict[str, NetworkComparison]:
    return dict(zip((*STAGES, "all"), comparison.networks, strict=True))
