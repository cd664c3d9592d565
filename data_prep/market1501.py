"""Market-1501 (Zheng et al., 2015): 1,501 people before six cameras, boxes from a detector.

The authors hand it out for research at the address below, as Market-1501-v15.09.15.zip; nothing is
downloaded here. The gallery has junk (identity -1, dropped before ranking) and distractors (0000 in
the names, 0 in the index). The zip is read in place; of a folder, images are hard-linked where that
is possible, so a prepared image should be replaced, never changed in place.

    python -m data_prep.market1501 data/market1501 Market-1501-v15.09.15.zip
"""

from pathlib import Path

from data_prep import identity_names
from data_prep.command import run
from data_prep.identity_rows import (
    FOLDERS,
    AllowOtherCounts,
    Expected,
    Out,
    SkipUnparsed,
    Source,
    rows_of_folders,
    store,
)
from data_prep.identity_sources import open_tree

NAME = "market1501"
HOME = "https://zheng-lab.cecs.anu.edu.au/Project/project_reid.html"
_HELP = f"Market-1501 is handed out at {HOME}: give its zip, or the folder with its three folders"
PUBLISHED = {
    "train": Expected(images=12_936, identities=751),
    "query": Expected(images=3_368, identities=750),
    "gallery": Expected(images=15_913, identities=751, junk=3_819),  # 750 people, distractors as 1
}


def prepare(
    out: Path, source: Path, *, allow_other_counts: bool = False, skip_unparsed: bool = False
) -> Path:
    """Prepare Market-1501 in `out`.

    Args:
        out: An absent or empty folder, or one that holds this very set already.
        source: The official zip, or the unpacked folder or one above it.
        allow_other_counts: Do not compare with the published counts.
        skip_unparsed: Leave out images whose file name does not parse.

    Returns:
        `out`.

    Raises:
        PreparationError: A folder is missing, a name does not parse, a count differs, the zip is
            unsafe or damaged, `out` holds something else, or there is no space.
    """
    out = Path(out)
    with open_tree(Path(source), [FOLDERS["train"]], _HELP) as tree:
        return store(
            out,
            NAME,
            f"Market-1501, {HOME}",
            tree,
            rows_of_folders(tree, identity_names.market1501),
            PUBLISHED,
            settings={},
            allow_other_counts=allow_other_counts,
            skip_unparsed=skip_unparsed,
        )


def main(
    out: Out,
    source: Source,
    allow_other_counts: AllowOtherCounts = False,
    skip_unparsed: SkipUnparsed = False,
) -> None:
    """Prepare Market-1501 from its zip or folder.

    Example: python -m data_prep.market1501 data/market1501 Market-1501-v15.09.15.zip
    """
    prepare(out, source, allow_other_counts=allow_other_counts, skip_unparsed=skip_unparsed)
    print(f"prepared: {out}")


if __name__ == "__main__":
    run(main)
