"""Every published number, once: DREAL (Li & Chen, 2020) and the figures quoted for context.

Notebooks, pages and tests read them from here. A number keeps its printed form, so that its
precision is known: the tolerance of an error is half a unit of its last printed digit, that of a
cost a whole unit, as Table 1 rounds some costs and truncates others. What this project computes
itself (true parameters, multiply-accumulates) does not stand here.
"""

import re
from dataclasses import dataclass

from dreal_lib.errors import UserError

DREAL = "Li & Chen 2020"
RGA = "Zhang et al. 2020 (RGA)"


@dataclass(frozen=True)
class Published:
    """One number as printed.

    Attributes:
        printed: The digits as printed.
        unit: What it counts, e.g. "% top-1 error".
        table: Where in its source it stands.
        source: Paper or repository.
        truncated: Whether the source may have cut digits off instead of rounding.
    """

    printed: str
    unit: str
    table: str
    source: str
    truncated: bool = False

    @property
    def value(self) -> float:
        return float(self.printed)

    @property
    def decimals(self) -> int:
        """Printed digits after the point."""
        return len(self.printed.partition(".")[2])

    @property
    def tolerance(self) -> float:
        """How far a recomputed value may lie off and still be printed like this."""
        return (1.0 if self.truncated else 0.5) * 10.0**-self.decimals


@dataclass(frozen=True)
class Errors:
    """Top-1 and top-5 error in per cent, single crop 224."""

    top1: Published
    top5: Published


@dataclass(frozen=True)
class Retrieval:
    """Rank-1 and mAP in per cent, single query."""

    rank1: Published
    mean_ap: Published


@dataclass(frozen=True)
class PrintedCost:
    """Parameters in millions and GFLOPs (multiply-accumulates); None where our copy has none."""

    parameters: Published
    gflops: Published | None


@dataclass(frozen=True)
class Table1Row:
    """One architecture of Table 1; `reinforced_cost` counts the critics, in training only."""

    network: str
    label: str
    cost: PrintedCost
    reinforced_cost: PrintedCost
    official: Errors
    self_implemented: Errors
    reinforced: Errors


@dataclass(frozen=True)
class ComparedMethod:
    """A method that Table 2 compares with; None where the table leaves it out.

    `backbone` is what the table's marks say.
    """

    name: str
    reference: str
    market: Retrieval
    duke: Retrieval | None
    backbone: str = "ResNet-50"


def _errors(pair: str, table: str, source: str = DREAL) -> Errors:
    top1, top5 = pair.split(" / ")
    return Errors(
        Published(top1, "% top-1 error", table, source),
        Published(top5, "% top-5 error", table, source),
    )


def _retrieval(pair: str, table: str, source: str = DREAL) -> Retrieval:
    rank1, mean_ap = pair.split(" / ")
    return Retrieval(
        Published(rank1, "% Rank-1", table, source), Published(mean_ap, "% mAP", table, source)
    )


def _cost(parameters: str, gflops: str | None) -> PrintedCost:
    return PrintedCost(
        Published(parameters, "M parameters", "Table 1", DREAL, truncated=True),
        None if gflops is None else Published(gflops, "GFLOPs", "Table 1", DREAL, truncated=True),
    )


def _table_1() -> dict[str, Table1Row]:
    """Params and GFLOPs of the baseline, then of the reinforced network; then the three errors."""
    printed = {
        "SE-ResNet-50": (
            ("28.088", "4.091", "28.119", "4.092"),
            ("23.29 / 6.62", "22.616 / 6.338", "22.152 / 5.948"),
        ),
        "SE-ResNet-101": (
            ("49.326", "7.806", "49.358", "7.811"),
            ("22.38 / 6.07", "21.488 / 5.778", "20.732 / 5.406"),
        ),
        "CBAM-ResNet-50": (
            ("28.089", None, "28.154", "4.097"),
            ("22.66 / 6.31", "22.386 / 6.172", "21.802 / 6.084"),
        ),
        "CBAM-ResNet-101": (
            ("49.330", "7.812", "49.394", "7.819"),
            ("21.51 / 5.69", "21.518 / 5.812", "20.682 / 5.362"),
        ),
        "SRM-ResNet-50": (
            ("25.587", "4.089", "25.618", "4.090"),
            ("22.87 / 6.49", "22.700 / 6.392", "22.348 / 6.084"),
        ),
        "SRM-ResNet-101": (
            ("44.614", None, "44.644", "7.806"),
            ("21.53 / 5.80", "21.404 / 5.740", "20.474 / 5.362"),
        ),
    }
    rows = {}
    for label, (costs, errors) in printed.items():
        network = label.lower().replace("-resnet-", "_resnet")
        official, self_implemented, reinforced = (_errors(pair, "Table 1") for pair in errors)
        rows[network] = Table1Row(
            network=network,
            label=label,
            cost=_cost(costs[0], costs[1]),
            reinforced_cost=_cost(costs[2], costs[3]),
            official=official,
            self_implemented=self_implemented,
            reinforced=reinforced,
        )
    return rows


# Table 1, by the library's name of the network ("se_resnet50"), in the paper's order.
TABLE_1 = _table_1()

# Table 2 (Rank-1 / mAP), by row and data set.
TABLE_2 = {
    row: {"market": _retrieval(market, "Table 2"), "duke": _retrieval(duke, "Table 2")}
    for row, (market, duke) in {
        "baseline": ("93.5 / 82.8", "84.8 / 72.5"),
        "attention": ("94.7 / 85.9", "86.4 / 76.2"),
        "reinforced": ("96.1 / 89.6", "89.6 / 79.8"),
    }.items()
}

# The first row of the Duke half is nameless in our copy; by its reference it is AACN. IDEAL's mark
# is garbled there; it is the one closest to AACN's.
_OTHER_BACKBONES = {
    "IDEAL": "GoogLeNet/Inception",
    "AACN": "GoogLeNet/Inception",
    "DuATM": "DenseNet-121",
    "HA-CNN": "of its own",
}
TABLE_2_COMPARED = tuple(
    ComparedMethod(
        name,
        reference,
        _retrieval(market, "Table 2"),
        None if duke is None else _retrieval(duke, "Table 2"),
        _OTHER_BACKBONES.get(name, "ResNet-50"),
    )
    for name, reference, market, duke in (
        ("IDEAL", "BMVC 2017", "86.7 / 67.5", None),
        ("MGCAM", "CVPR 2018", "83.55 / 74.25", None),
        ("AACN", "CVPR 2018", "85.90 / 66.87", "76.84 / 59.25"),
        ("DuATM", "CVPR 2018", "91.42 / 76.62", "81.82 / 64.58"),
        ("HA-CNN", "CVPR 2018", "91.2 / 75.7", "80.5 / 63.8"),
        ("Mancs", "ECCV 2018", "93.1 / 82.3", "84.9 / 71.8"),
        ("AANet", "CVPR 2019", "93.89 / 82.45", "86.42 / 72.56"),
        ("ABD-Net", "ICCV 2019", "95.60 / 88.28", "89.00 / 78.59"),
        ("MHN-6", "ICCV 2019", "95.1 / 85.0", "89.1 / 77.2"),
        ("SONA", "ICCV 2019", "95.58 / 88.83", "89.38 / 78.28"),
    )
)

# Section 4.2's margins over "+ attention" (Rank-1 / mAP); its mAP margins contradict Table 2.
SECTION_4_2_MARGINS = {
    "market": _retrieval("1.4 / 0.7", "Section 4.2"),
    "duke": _retrieval("3.2 / 2.6", "Section 4.2"),
}

# Table 3: top-1 error of SRM-ResNet-101 by reinforced stage, by the library's stage name.
TABLE_3 = {
    stage: Published(printed, "% top-1 error", "Table 3", DREAL)
    for stage, printed in {
        "layer1": "21.132",
        "layer2": "20.946",
        "layer3": "20.858",
        "layer4": "20.794",
    }.items()
} | {  # 'none' and 'all' are Table 1's runs.
    "none": TABLE_1["srm_resnet101"].self_implemented.top1,
    "all": TABLE_1["srm_resnet101"].reinforced.top1,
}

# ImageNet errors that others published, for context, by model and depth.
CONTEXT_ERRORS = {
    ("plain", 50): _errors("24.11 / 7.15", "results", "SRM authors' repository"),
    ("plain", 101): _errors("22.60 / 6.41", "results", "SRM authors' repository"),
    ("SE", 50): _errors("23.20 / 6.61", "results", "SRM authors' repository"),
    ("SE", 101): _errors("21.92 / 6.05", "results", "SRM authors' repository"),
    ("GE", 50): _errors("23.25 / 6.59", "results", "SRM authors' repository"),
    ("GE", 101): _errors("22.64 / 6.36", "results", "SRM authors' repository"),
    ("ECA", 50): _errors("22.58 / 6.38", "results", "ECA-Net authors' repository"),
    ("ECA", 101): _errors("21.35 / 5.66", "results", "ECA-Net authors' repository"),
    ("SE (Caffe release)", 50): _errors("22.37 / 6.36", "results", "SENet authors' repository"),
    ("SE (Caffe release)", 101): _errors("21.75 / 5.72", "results", "SENet authors' repository"),
    ("CBAM (released weights)", 50): _errors(
        "22.378 / 6.052", "results", "CBAM authors' repository"
    ),
}

# The RGA paper's re-identification results (Rank-1 / mAP), and a user's of the authors' code.
RGA_RESULTS = {
    ("baseline", "market"): _retrieval("94.2 / 83.7", "Table 1", RGA),
    ("RGA-SC", "market"): _retrieval("95.8 / 88.1", "Table 1", RGA),
    ("baseline", "duke"): _retrieval("83.4 / 71.2", "Table 4", RGA),
    ("RGA-SC", "duke"): _retrieval("86.1 / 74.9", "Table 4", RGA),
    ("baseline", "cuhk03_labelled"): _retrieval("73.8 / 69.0", "Table 1", RGA),
    ("RGA-SC", "cuhk03_labelled"): _retrieval("80.4 / 76.5", "Table 1", RGA),
    ("baseline", "msmt17"): _retrieval("75.7 / 51.5", "Table 5", RGA),
    ("RGA-SC", "msmt17"): _retrieval("81.3 / 56.3", "Table 5", RGA),
    ("RGA-SC, by a user", "cuhk03_labelled"): _retrieval(
        "77.0 / 74.8", "issue 9", "RGA authors' repository"
    ),
}

# Peers' re-identification baselines (Rank-1 / mAP).
PEER_RESULTS = {
    (method, data): _retrieval(pair, "model zoo", source)
    for method, source, results in (
        (
            "BoT, no centre loss",
            "strong-baseline",
            {"market": "94.1 / 85.7", "duke": "86.2 / 75.9"},
        ),
        (
            "BoT, SE-ResNet-50",
            "strong-baseline",
            {"market": "94.4 / 86.3", "duke": "86.4 / 76.5"},
        ),
        (
            "BoT R50",
            "fast-reid",
            {"market": "94.4 / 86.1", "duke": "87.2 / 77.0", "msmt17": "74.1 / 50.2"},
        ),
        (
            "AGW R50",
            "fast-reid",
            {"market": "95.3 / 88.2", "duke": "89.0 / 79.9", "msmt17": "78.3 / 55.6"},
        ),
        (
            "SBS R50",
            "fast-reid",
            {"market": "95.4 / 88.2", "duke": "90.3 / 80.3", "msmt17": "81.8 / 58.4"},
        ),
    )
    for data, pair in results.items()
}


def stage_name(stage: str) -> str:
    """The paper's name of a stage: `layer1` is `conv2_x`."""
    return f"conv{int(stage.removeprefix('layer')) + 1}_x"


def paper_block_name(block: str) -> str:
    """The paper's name of a block, or of one of its maps: both count blocks from zero.

    `layer2.3` is `conv3_3`, `layer4.2` is `conv5_2`, `layer1.0.spatial` is `conv2_0 spatial`.

    Raises:
        UserError: If the name is not of this form.
    """
    match = re.fullmatch(r"layer([1-4])\.(\d+)(?:\.(channel|spatial))?", block)
    if match is None:
        raise UserError(
            f"{block!r} is no block; blocks are named like layer2.3 or layer2.3.spatial"
        )
    stage, index, kind = match.groups()
    return f"conv{int(stage) + 1}_{index}" + (f" {kind}" if kind else "")


def block_of_paper_name(name: str) -> str:
    """The block that the paper calls `conv3_3`: `layer2.3`.

    Raises:
        UserError: If the name is not of this form.
    """
    match = re.fullmatch(r"conv([2-5])_(\d+)(?: (channel|spatial))?", name)
    if match is None:
        raise UserError(f"{name!r} is no block of the paper; they are named like conv3_3")
    stage, index, kind = match.groups()
    return f"layer{int(stage) - 1}.{index}" + (f".{kind}" if kind else "")
