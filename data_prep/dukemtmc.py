"""DukeMTMC-reID (Ristani et al., 2016; Zheng et al., 2017), for those who hold a copy.

Its authors withdrew DukeMTMC in 2019, and with it this set of people who had not been asked. It
is downloaded for nobody, here or elsewhere in this project, and no address is given. A copy held
from before is read where it lies, as a folder or as DukeMTMC-reID.zip; whether it may still be used
is for its holder to settle.

    python -m data_prep.dukemtmc data/dukemtmc DukeMTMC-reID
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

NAME = "dukemtmc"
_HELP = (
    "DukeMTMC-reID was withdrawn by its authors and is downloaded for nobody: if you hold a copy, "
    "give its zip, or the folder with its three folders; else use another set"
)
PUBLISHED = {
    "train": Expected(images=16_522, identities=702),
    "query": Expected(images=2_228, identities=702),
    "gallery": Expected(images=17_661, identities=1_110),  # 702, and 408 that serve as distractors
}


def prepare(
    out: Path, source: Path, *, allow_other_counts: bool = False, skip_unparsed: bool = False
) -> Path:
    """Prepare DukeMTMC-reID in `out`.

    Args:
        out: An absent or empty folder, or one that holds this very set already.
        source: The zip, or the unpacked folder or one above it.
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
            "DukeMTMC-reID, withdrawn by its authors; from a copy that the user holds",
            tree,
            rows_of_folders(tree, identity_names.dukemtmc),
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
    """Prepare DukeMTMC-reID, which its authors withdrew, from a copy that you hold.

    Nothing is downloaded for it.

    Example: python -m data_prep.dukemtmc data/dukemtmc DukeMTMC-reID
    """
    prepare(out, source, allow_other_counts=allow_other_counts, skip_unparsed=skip_unparsed)
    print(f"prepared: {out}")


if __name__ == "__main__":
    run(main)
