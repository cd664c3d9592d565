"""Grocery Store (Klasson et al., 2019) for open-set retrieval: photographs of 81 products.

The identity is a product (fine-grained class); there are no cameras. Products in sorted order of
their names: the first, third, fifth ... are for training, the others for testing. Names begin with
the brand, so that near relatives (two juices of one brand) stand on both sides.

Of a training product all photographs are used. Of a test product those of the set's own test part
are the queries, those of its train and val parts the gallery. Photographs of a product taken one
after another look alike; so queries and gallery never come from one part, which removes such
series as far as the authors' parts keep them apart, and no further. (Measured on photographs of 128
pixels: no query has a gallery photograph of its product whose 16 x 16 grey reduction correlates
with its own above 0.9.) The iconic pictures of a web shop are left out.

Read are the repository's zip (it has no fixed checksum, so the counts are compared) or a pack of
it with an index.csv, whose photographs may be smaller. Photographs are stored as they are.

    python -m data_prep.grocery data/grocery GroceryStoreDataset-master.zip
"""

import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from data_prep.archives import Member, open_zip
from data_prep.command import run
from data_prep.errors import PreparationError
from data_prep.identity_layout import Entry, IdentityImage, write_identity_set
from data_prep.packs import INDEX, archive_record, find_zips, index_rows

NAME = "grocery-store"
HOME = "https://github.com/marcusklasson/GroceryStoreDataset"
PUBLISHED = {"train": 2640, "val": 296, "test": 2485}  # images; counted in the repository
FORMS = (["GroceryStoreDataset*.zip"], ["grocery*.zip"])
_PHOTO = re.compile(r"(?:[^/]+/)?dataset/(train|val|test)/(?:[^/]+/)+([^/]+)/([^/]+\.jpg)")
_COLUMNS = ("file", "split", "class")


@dataclass(frozen=True)
class Photo:
    """One photograph: the set's own part, its product and its file."""

    part: str
    product: str
    file_name: str
    member: Member


def photos(members: Mapping[str, Member], archive: str) -> list[Photo]:
    """The photographs of a zip, the repository's or a pack, without the iconic pictures.

    Raises:
        PreparationError: It is neither, or its index does not fit its files.
    """
    if INDEX in members:
        rows = index_rows(members, archive, _COLUMNS)
        packed = ((row["split"], row["class"], members[row["file"]]) for row in rows)
        return [Photo(*p, m.path.name, m) for *p, m in packed if p[0] in PUBLISHED]
    matches = ((_PHOTO.fullmatch(path), member) for path, member in members.items())
    found = [Photo(m[1], m[2], m[3], member) for m, member in matches if m]
    if not found:
        raise PreparationError(
            f"'{archive}' holds no photographs (dataset/train/.../PRODUCT/*.jpg) and no {INDEX}; "
            f"get it from {HOME}"
        )
    return found


def check_counts(found: Sequence[Photo]) -> None:
    """Compare the number of photographs of each part with the repository's.

    Raises:
        PreparationError: One differs.
    """
    for part, expected in PUBLISHED.items():
        count = sum(photo.part == part for photo in found)
        if count != expected:
            raise PreparationError(
                f"{NAME}: the part '{part}' should have {expected:,} photographs; found {count:,}; "
                "give the whole set, or take it as it is with --allow-other-counts"
            )


def images(found: Sequence[Photo]) -> list[IdentityImage]:
    """The set's images by the rule in this module's header."""
    names = sorted({photo.product for photo in found})
    tested = set(names[1::2])
    rows = []
    for photo in sorted(found, key=lambda p: (p.product, p.part, p.file_name)):
        split = "train"
        if photo.product in tested:
            split = "query" if photo.part == "test" else "gallery"
        path = f"{split}/{photo.product}/{photo.part}_{photo.file_name}"
        rows.append(IdentityImage(Entry(path, photo.product, "", split), photo.member))
    return rows


def prepare(out: Path, source: Path, *, allow_other_counts: bool = False) -> Path:
    """Prepare Grocery Store in `out`.

    Args:
        out: An absent or empty folder, or one that holds this very set already.
        source: The repository's zip or a pack, or a folder with one of them.
        allow_other_counts: Do not compare with the repository's counts.

    Returns:
        `out`.

    Raises:
        PreparationError: No archive or a damaged one, a count differs, `out` holds something
            else, or there is no space.
    """
    archives = find_zips(Path(source), FORMS, HOME)
    with ExitStack() as stack:
        found = []
        for archive in archives:
            found += photos(stack.enter_context(open_zip(archive)), archive.name)
        if not allow_other_counts:
            check_counts(found)
        rows = images(found)
        return write_identity_set(
            Path(out),
            NAME,
            f"Grocery Store, {HOME}",
            rows,
            settings={"allow_other_counts": allow_other_counts},
            archives=[archive_record(archive, HOME) for archive in archives],
            notes={
                "rule": "every second product by name is for testing; queries are its photographs "
                "of the set's test part, the gallery those of its train and val parts"
            },
            total=len(rows),
        )


def main(
    out: Annotated[Path, typer.Argument(help="Folder to write; absent or empty.")],
    source: Annotated[Path, typer.Argument(help="The zip, or its folder.")],
    allow_other_counts: Annotated[
        bool, typer.Option(help="Take a part of the set: do not compare the counts.")
    ] = False,
) -> None:
    """Prepare Grocery Store for open-set retrieval: half of the products are for testing only.

    Example: python -m data_prep.grocery data/grocery GroceryStoreDataset-master.zip
    """
    prepare(out, source, allow_other_counts=allow_other_counts)
    print(f"prepared: {out}")


if __name__ == "__main__":
    run(main)
