"""Made-up runs for the scoreboard's tests, and one statement judged by them."""

from synthetic_records import write_run
from synthetic_retrieval import DATA, write_retrieval

from book.companion.claims import board
from book.companion.claims.sources import Scale
from book.companion.claims.statements import statements
from dreal_lib import records

IMAGENET = {
    "name": "imagenet",
    "fingerprint": "f" * 64,
    "train_images": 1_281_167,
    "val_images": 50_000,
    "classes": 1000,
}
BY_ID = {item.id: item for item in statements()}


def write_pairs(root, network, gains, top5=None, profile="paper", **changes):
    """Pairs of runs whose reinforced one errs less by these gains, seed by seed."""
    for seed, (gain, gain5) in enumerate(zip(gains, top5 or gains, strict=True)):
        for method, less in (("baseline", (0, 0)), ("reinforced", (gain, gain5))):
            errors = (22.0 + seed - less[0], 6.0 + seed - less[1])
            write_run(
                root,
                f"table_1/{network}_{method}",
                seed=seed,
                profile=profile,
                top1=(errors[0], errors[0] - 0.1),
                top5=(errors[1], errors[1] - 0.1),
                **({"data": IMAGENET} | changes),
            )


def judged(root, name, *scales):
    """One statement by the records under a folder; the first scale is the page's own."""
    stored = records.find_records(root)
    scales = scales or (("desktop", "two_cores"), ("paper", None))
    return board.judge_one(BY_ID[name], [Scale(stored, *scale) for scale in scales])


def write_steps(root, name, gains=((1.3, 3.6), (1.4, 3.7), (1.5, 3.8)), **changes):
    """Runs of + attention and + reinforce on a set, the latter better by these gains."""
    for seed, (rank1, mean_ap) in enumerate(gains):
        for method, more in (("attention", (0, 0)), ("reinforced", (rank1, mean_ap))):
            scores = {"rank1": 90 + seed + more[0], "mean_ap": 80 + seed + more[1]}
            facts = {"seed": seed, "profile": "paper", "data": DATA | {"name": name}} | changes
            write_retrieval(root, method, **scores, **facts)
