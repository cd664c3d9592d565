"""The controlled comparison (`book/plan.md`): its arms, its five contrasts, and what they say.

Nothing of a contrast is shown before it has the pairs that were planned.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure

from book.companion.drawing import FAINT, INK, PALETTE, STYLE, WIDTH_INCHES
from book.companion.text.differences import interval_text, marked, p_text, summary_text
from book.companion.text.tables import NOTHING, Table, signed
from dreal_lib.comparison.contrasts import Contrast, judge_contrasts
from dreal_lib.comparison.rows import NetworkComparison, Row, RowsComparison, compare_rows
from dreal_lib.records import StoredRecord

FOLDER = "evidence"  # of the rows
MARGIN = 1.0  # points of top-1 error, of the interval of equivalence
METRIC = "top1_error_pct"
COUNTERFACTUAL_PASSES = 1.85  # of a step in which every image is right; counted for the plan


@dataclass(frozen=True)
class Arm:
    """A row of the comparison, what it is, and how many seeds were planned."""

    row: str
    label: str
    seeds: int

    @property
    def recipe(self) -> str:
        return f"{FOLDER}/{self.row}"


@dataclass(frozen=True)
class Planned:
    """A contrast as the plan has it: the first row minus the second."""

    name: str
    first: str
    second: str
    asks: str
    pairs: int


ARMS = (
    Arm("se_resnet38_baseline", "SE, attention learns from $\\mathcal L_c$ alone", 9),
    Arm("se_resnet38_reinforced", "SE, reinforced: the defaults, a critic of one cell", 9),
    Arm("se_resnet38_cells16", "SE, critics of 16 cells", 9),
    Arm("se_resnet38_cells16_shuffled", "SE, 16 cells, rewards shuffled over images", 9),
    Arm("se_resnet38_oracle_reward", "SE, exact gradient of R instead of the critic's", 5),
    Arm("se_resnet38_oracle_log_p", "SE, exact gradient of log p on the same images", 5),
    Arm("se_resnet38_remedied", "SE, critic kept alive (fan-in, rate / 100)", 5),
    Arm("se_resnet38_random_critic", "SE, critics that learn nothing", 5),
    Arm("se_resnet38_equal_compute", "SE, baseline of equal compute (11 epochs)", 5),
    *(
        Arm(f"{attention}_resnet38_{method}", f"{attention.upper()}, {method}", 3)
        for attention in ("cbam", "srm")
        for method in ("baseline", "reinforced", "remedied")
    ),
)

CONTRASTS = (
    Planned(
        "default",
        "se_resnet38_reinforced",
        "se_resnet38_baseline",
        "Does the method, as it is by default, change the error?",
        9,
    ),
    Planned(
        "information",
        "se_resnet38_cells16",
        "se_resnet38_cells16_shuffled",
        "Does it matter what the rewards tell?",
        9,
    ),
    Planned(
        "headroom",
        "se_resnet38_oracle_reward",
        "se_resnet38_baseline",
        "Could a perfect critic help?",
        5,
    ),
    Planned(
        "beyond cross-entropy",
        "se_resnet38_oracle_reward",
        "se_resnet38_oracle_log_p",
        "Does the reward teach more than cross-entropy?",
        5,
    ),
    Planned(
        "living critic",
        "se_resnet38_remedied",
        "se_resnet38_baseline",
        "Does a critic that stays alive change the error?",
        5,
    ),
)


@dataclass(frozen=True)
class EvidenceComparison(RowsComparison):
    """The arms at one scale, run or not, and the contrasts between them."""

    def arm(self, row: str) -> Row:
        """By its name without the folder."""
        return self.by_recipe[f"{FOLDER}/{row}"]

    def differences(self, planned: Planned) -> dict[int, float]:
        """First minus second row in points, by seed; of the planned seeds alone."""
        pair = NetworkComparison("", "", self.arm(planned.second), self.arm(planned.first))
        found = pair.differences(METRIC)
        return {seed: value for seed, value in found.items() if seed < planned.pairs}

    def contrasts(self) -> dict[str, Contrast]:
        """Each contrast by its name, judged where all its pairs are there."""
        return judge_contrasts(
            {one.name: list(self.differences(one).values()) for one in CONTRASTS},
            {one.name: one.pairs for one in CONTRASTS},
            MARGIN,
        )


def compare_arms(
    stored: Sequence[StoredRecord], profile: str, variant: str | None
) -> EvidenceComparison:
    """Sorts records into the plan's arms; errors as `compare_rows`'s."""
    found = compare_rows(stored, profile, variant, (arm.recipe for arm in ARMS))
    return EvidenceComparison(profile, variant, (), found.by_recipe)


def arm_table(comparison: EvidenceComparison) -> Table:
    """Each arm with its seeds; errors of those alone that have all that were planned."""
    rows = []
    for arm in ARMS:
        row = comparison.arm(arm.row)
        runs = [run for run in row.runs if run.record.seed < arm.seeds]
        whole = len(runs) == arm.seeds
        error = marked(summary_text(row.summary(METRIC)), row, comparison.scale)
        rows.append((arm.label, f"{len(runs)} of {arm.seeds}", error if whole else NOTHING))
    return Table.of(("Arm", "Seeds", "Top-1 error, %"), rows)


def contrast_table(comparison: EvidenceComparison) -> Table:
    """The five contrasts of the plan, with interval, corrected p-values and verdict."""
    judged, rows = comparison.contrasts(), []
    for one in CONTRASTS:
        found = judged[one.name]
        cells = (NOTHING, NOTHING, NOTHING, NOTHING)
        if found.difference is not None:
            cells = (
                signed(found.difference.mean),
                interval_text(found.difference),
                p_text(found.p_difference),
                p_text(found.p_equivalence),
            )
        pairs = f"{found.pairs} of {found.planned}"
        rows.append((f"{_short(one.first)} - {_short(one.second)}", pairs, *cells, verdict(found)))
    columns = ("Contrast", "Pairs", "Points", "95 % interval", "p, differs", "p, equivalent")
    return Table((*columns, "Verdict"), tuple(rows), frozenset({1, 2, 3, 4, 5}))


def verdict(found: Contrast) -> str:
    """In the plan's words; a contrast without all its pairs is not judged."""
    if found.difference is None:
        return "not judged yet"
    said = []
    if found.differs:
        said.append("differs: " + ("worse" if found.difference.mean > 0 else "better"))
    if found.equivalent:
        said.append(f"equivalent within {MARGIN:.1f} point")
    return ", ".join(said) or f"undecided with n = {found.pairs}"


def contrast_sentences(comparison: EvidenceComparison) -> list[str]:
    """A sentence a contrast: its question and what was found."""
    judged, said = comparison.contrasts(), []
    for one in CONTRASTS:
        found = judged[one.name]
        if found.difference is None:
            said.append(
                f"**{one.asks}** Not judged yet: {found.pairs} of {found.planned} pairs are there, "
                f"and the plan allows no look before."
            )
            continue
        said.append(
            f"**{one.asks}** {verdict(found).capitalize()}: {signed(found.difference.mean)} points "
            f"(95 % interval {interval_text(found.difference)}, n = {found.pairs})."
        )
    return said


def contrast_points(comparison: EvidenceComparison) -> pd.DataFrame:
    """What `forest` draws: a row a pair of runs, of the contrasts that are judged."""
    judged = comparison.contrasts()
    return pd.DataFrame(
        {
            "contrast": one.name,
            "seed": seed,
            "points": value,
            "mean": judged[one.name].difference.mean,
            "low": judged[one.name].difference.low,
            "high": judged[one.name].difference.high,
        }
        for one in CONTRASTS
        if judged[one.name].difference is not None
        for seed, value in comparison.differences(one).items()
    )


def forest(points: pd.DataFrame) -> Figure:
    """A line a contrast: a dot a seed, the mean with its 95 % bar, the margin of equivalence."""
    names = list(dict.fromkeys(points["contrast"]))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH_INCHES, 0.8 + 0.45 * len(names)), layout="constrained")
        axis = figure.subplots()
        axis.axvspan(-MARGIN, MARGIN, color=FAINT, alpha=0.15, linewidth=0)
        axis.axvline(0, color=FAINT, linewidth=0.8)
        for place, name in enumerate(names):
            one = points[points["contrast"] == name]
            first = one.iloc[0]
            axis.plot(one["points"], [place + 0.18] * len(one), "o", color=FAINT, markersize=3)
            axis.plot([first["low"], first["high"]], [place] * 2, color=PALETTE["reinforced"])
            axis.plot(first["mean"], place, "D", color=PALETTE["reinforced"], markersize=4.5)
        axis.set_yticks(range(len(names)), names, color=INK)
        axis.set(ylim=(len(names) - 0.5, -0.5), xlabel="difference in points of top-1 error")
        return figure


def alt_text(points: pd.DataFrame) -> str:
    """The same in words."""
    firsts = points.groupby("contrast", sort=False).first()
    return "Differences in points with 95 % intervals. " + " ".join(
        f"{name}: {signed(row['mean'])} ({signed(row['low'])} to {signed(row['high'])})."
        for name, row in firsts.iterrows()
    )


def compute_sentence(comparison: EvidenceComparison) -> str:
    """How many baseline epochs the reinforced runs really cost; "" without runs."""
    runs = comparison.arm("se_resnet38_reinforced").runs
    if not runs:
        return ""
    wrong = [fmean(run.history()["train_top1_error_pct"]) for run in runs]
    right = 1 - fmean(wrong) / 100
    epochs = runs[0].record.last.epoch * (1 + COUNTERFACTUAL_PASSES * right / 3)
    return (
        f"*Equal compute.* The reinforced runs predicted {right:.2f} of their training images "
        f"right, in the mean over their epochs (n = {len(runs)}). By the plan's count that is as "
        f"much as {epochs:.1f} epochs of the baseline; the arm was given 11."
    )


def _short(row: str) -> str:
    return row.removeprefix("se_resnet38_").replace("_", " ")
