"""What the RGA paper (Zhang et al., 2019) reports, and peers' baselines of the same task.

The numbers are those of arXiv 1904.02998v1 (April 2019). The version of CVPR 2020 prints others,
such as 81.1 / 77.4 for RGA-SC on CUHK03 (labelled); the authors' code and its users are about that
one.
"""

from book.companion.papers.paper import RGA
from book.companion.papers.published import retrieval_of

# The paper's re-identification results (Rank-1 / mAP), and a user's of the authors' code.
RGA_RESULTS = {
    ("baseline", "market"): retrieval_of("94.2 / 83.7", "Table 1", RGA.citation),
    ("RGA-SC", "market"): retrieval_of("95.8 / 88.1", "Table 1", RGA.citation),
    ("baseline", "duke"): retrieval_of("83.4 / 71.2", "Table 4", RGA.citation),
    ("RGA-SC", "duke"): retrieval_of("86.1 / 74.9", "Table 4", RGA.citation),
    ("baseline", "cuhk03_labelled"): retrieval_of("73.8 / 69.0", "Table 1", RGA.citation),
    ("RGA-SC", "cuhk03_labelled"): retrieval_of("80.4 / 76.5", "Table 1", RGA.citation),
    ("baseline", "msmt17"): retrieval_of("75.7 / 51.5", "Table 5", RGA.citation),
    ("RGA-SC", "msmt17"): retrieval_of("81.3 / 56.3", "Table 5", RGA.citation),
    ("RGA-SC, by a user", "cuhk03_labelled"): retrieval_of(
        "77.0 / 74.8", "issue 9", "RGA authors' repository (CVPR 2020 version)"
    ),
}


# Peers' re-identification baselines (Rank-1 / mAP).
PEER_RESULTS = {
    (method, data): retrieval_of(pair, "model zoo", source)
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
