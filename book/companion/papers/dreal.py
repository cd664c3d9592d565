"""Every number that DREAL (Li & Chen, 2020) reports, once.

Notebooks, pages and tests read them from here. What this project computes itself (true parameters,
multiply-accumulates) does not stand here.
"""

from book.companion.papers.paper import DREAL
from book.companion.papers.published import (
    ComparedMethod,
    Published,
    Table1Row,
    cost_of,
    errors_of,
    retrieval_of,
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
        official, self_implemented, reinforced = (errors_of(pair, "Table 1") for pair in errors)
        rows[network] = Table1Row(
            network=network,
            label=label,
            cost=cost_of(costs[0], costs[1]),
            reinforced_cost=cost_of(costs[2], costs[3]),
            official=official,
            self_implemented=self_implemented,
            reinforced=reinforced,
        )
    return rows


# Table 1, by the library's name of the network ("se_resnet50"), in the paper's order.
TABLE_1 = _table_1()

TABLE_2_HALVES = {"market1501": "market", "dukemtmc": "duke"}  # by the name of the data set
# Table 2 (Rank-1 / mAP), by row and data set.
TABLE_2 = {
    row: {"market": retrieval_of(market, "Table 2"), "duke": retrieval_of(duke, "Table 2")}
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
        retrieval_of(market, "Table 2"),
        None if duke is None else retrieval_of(duke, "Table 2"),
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

# "dedicatedly designed backbone networks [24] or ... higher-order attention forms [6,54]".
SECTION_4_2_NAMED = ("HA-CNN", "MHN-6", "SONA")

# Section 4.2's margins over "+ attention" (Rank-1 / mAP); its mAP margins contradict Table 2.
SECTION_4_2_MARGINS = {
    "market": retrieval_of("1.4 / 0.7", "Section 4.2"),
    "duke": retrieval_of("3.2 / 2.6", "Section 4.2"),
}

# Table 3: top-1 error of SRM-ResNet-101 by reinforced stage, by the library's stage name.
TABLE_3 = {
    stage: Published(printed, "% top-1 error", "Table 3", DREAL.citation)
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
