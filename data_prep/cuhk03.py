"""CUHK03 (Li et al., 2014) under the new protocol (Zhong et al., 2017): 767 and 700 identities.

Labelled boxes were drawn by hand, detected ones come from a detector. Two forms in use are read;
nothing is downloaded:

    CUHK03-NP, in Market-1501's three folders:  {labeled,detected}/bounding_box_train/0001_c1_1.png
    torchreid's extraction of cuhk-03.mat:      images_{labeled,detected}/1_001_1_01.png with
                                                splits_new_{labeled,detected}.json

torchreid's lists renumber the training identities from 0 and keep the test identities' own numbers,
so one number means two people. Identities are therefore read from the file names there (pair of
cameras and person), and the lists' numbers are only checked against them.

    python -m data_prep.cuhk03 data/cuhk03-labelled cuhk03-np.zip --boxes labelled
"""

import json
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

import typer

from data_prep import identity_names
from data_prep.command import run
from data_prep.errors import PreparationError
from data_prep.identity_layout import SPLITS
from data_prep.identity_names import Name
from data_prep.identity_rows import (
    FOLDERS,
    AllowOtherCounts,
    Expected,
    Out,
    Rows,
    SkipUnparsed,
    Source,
    rows_of_folders,
    store,
)
from data_prep.identity_sources import Tree, open_tree

NAME = "cuhk03"
HOME = "https://www.ee.cuhk.edu.hk/~xgwang/CUHK_identification.html"
BOXES = {"labelled": "labeled", "detected": "detected"}  # as folders and files are spelled
PUBLISHED = {
    "labelled": {
        "train": Expected(images=7_368, identities=767),
        "query": Expected(images=1_400, identities=700),
        "gallery": Expected(images=5_328, identities=700),
    },
    "detected": {
        "train": Expected(images=7_365, identities=767),
        "query": Expected(images=1_400, identities=700),
        "gallery": Expected(images=5_332, identities=700),
    },
}


def _np_rows(tree: Tree, spelled: str) -> Rows:
    return rows_of_folders(tree, identity_names.cuhk03_np, inside=spelled)


def _extracted_rows(tree: Tree, spelled: str) -> Rows:
    """The rows of torchreid's list, whose paths are those of the machine that made it."""
    listing = f"splits_new_{spelled}.json"
    images = tree.images(f"images_{spelled}")
    rows = Rows()
    for split, listed in _read_splits(tree.text(listing), listing).items():
        numbers: dict[str, int] = {}
        for path, number, camera in listed:
            file_name = PurePosixPath(path.replace("\\", "/")).name
            if file_name not in images:
                raise PreparationError(
                    f"'{listing}' lists '{file_name}', which 'images_{spelled}' of '{tree.label}' "
                    "lacks; extract the images again"
                )
            name = identity_names.cuhk03_extracted(file_name)
            rows.add(split, file_name, name, images[file_name])
            if name is not None:
                _agree(listing, file_name, name, number, camera, numbers)
        if len(set(numbers.values())) != len(numbers):
            raise PreparationError(
                f"'{listing}' gives one number to several people in '{split}'; make it again"
            )
    return rows


def _agree(
    listing: str, file_name: str, name: Name, number: int, camera: int, numbers: dict[str, int]
) -> None:
    known = numbers.setdefault(name.identity, number)
    if known != number or camera != int(name.camera) - 1:  # the list counts cameras from 0
        raise PreparationError(
            f"'{listing}' gives '{file_name}' the identity {number} and camera {camera}; its name "
            f"and the rows before say {known} and {int(name.camera) - 1}; make the list again"
        )


def _read_splits(text: str, listing: str) -> dict[str, list[tuple[str, int, int]]]:
    """Path, identity and camera of each image, by split; the new protocol has one division."""
    try:
        (division,) = json.loads(text)
        return {
            split: [(str(path), int(number), int(camera)) for path, number, camera in rows]
            for split, rows in ((split, division[split]) for split in SPLITS)
        }
    except (ValueError, TypeError, KeyError) as error:
        reason = " ".join(str(error).split())
        raise PreparationError(
            f"'{listing}' is not torchreid's list of the new protocol ({reason}); make it again"
        ) from None


def prepare(
    out: Path,
    source: Path,
    *,
    boxes: str = "labelled",
    allow_other_counts: bool = False,
    skip_unparsed: bool = False,
) -> Path:
    """Prepare CUHK03 under the new protocol in `out`.

    Args:
        out: An absent or empty folder, or one that holds this very set already.
        source: A folder or zip in one of the two forms.
        boxes: "labelled" or "detected".
        allow_other_counts: Do not compare with the published counts.
        skip_unparsed: Leave out images whose file name does not parse.

    Returns:
        `out`.

    Raises:
        PreparationError: `boxes` is neither, neither form is found, a name does not parse or
            contradicts the list, a count differs, the zip is unsafe or damaged, `out` holds
            something else, or there is no space.
    """
    if boxes not in BOXES:
        raise PreparationError(f"boxes must be one of {', '.join(BOXES)}; got {boxes!r}")
    out, spelled = Path(out), BOXES[boxes]
    folders, listing = f"{spelled}/{FOLDERS['train']}", f"splits_new_{spelled}.json"
    help_text = (
        f"CUHK03 is had from {HOME}: give the CUHK03-NP folders, or what torchreid extracts from "
        f"cuhk-03.mat ('{listing}' and 'images_{spelled}')"
    )
    with open_tree(Path(source), [folders, listing], help_text) as tree:
        as_np = tree.marker == folders
        return store(
            out,
            f"{NAME}-{boxes}",
            f"CUHK03, new protocol, {boxes} boxes, {HOME} ({'NP' if as_np else 'extracted'} form)",
            tree,
            _np_rows(tree, spelled) if as_np else _extracted_rows(tree, spelled),
            PUBLISHED[boxes],
            settings={"boxes": boxes},
            allow_other_counts=allow_other_counts,
            skip_unparsed=skip_unparsed,
        )


def main(
    out: Out,
    source: Source,
    boxes: Annotated[
        Literal["labelled", "detected"], typer.Option(help="Drawn by hand, or by a detector.")
    ] = "labelled",
    allow_other_counts: AllowOtherCounts = False,
    skip_unparsed: SkipUnparsed = False,
) -> None:
    """Prepare CUHK03 under the new protocol (767 identities train, 700 test).

    Example: python -m data_prep.cuhk03 data/cuhk03-detected cuhk03-np.zip --boxes detected
    """
    prepare(
        out,
        source,
        boxes=boxes,
        allow_other_counts=allow_other_counts,
        skip_unparsed=skip_unparsed,
    )
    print(f"prepared: {out}")


if __name__ == "__main__":
    run(main)
