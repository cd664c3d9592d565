"""From a re-identification set's file names to a prepared set: rows, counts, storing, command.

What Market-1501, DukeMTMC-reID, CUHK03 and MSMT17 share once their files are found: turning file
names into rows, comparing the counts with the published ones, and the options of their commands.
Market-1501 and DukeMTMC-reID lie in the same folders, so that one reader (`FolderSet`) does both.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Annotated, NamedTuple

import typer

from data_prep.archives import Member
from data_prep.errors import PreparationError
from data_prep.identity_layout import (
    SPLITS,
    Entry,
    IdentityImage,
    check_entries,
    sha256_of_rows,
    split_counts,
    write_identity_set,
)
from data_prep.identity_names import Name
from data_prep.identity_sources import LISTED, Tree, open_tree

FOLDERS = {"train": "bounding_box_train", "query": "query", "gallery": "bounding_box_test"}

Out = Annotated[Path, typer.Argument(help="Folder to write; absent or empty.")]
Source = Annotated[Path, typer.Argument(help="The set's folder or zip; only read.")]
AllowOtherCounts = Annotated[
    bool, typer.Option(help="Take a part of the set: do not compare with the published counts.")
]
SkipUnparsed = Annotated[
    bool, typer.Option(help="Leave out images whose file name does not parse.")
]


class Expected(NamedTuple):
    """The published counts of one split; junk is counted apart, and may have been removed."""

    images: int
    identities: int
    junk: int = 0


@dataclass
class Rows:
    """The images of a set as they are found, and the file names that do not parse."""

    images: list[IdentityImage] = field(default_factory=list)
    unparsed: list[str] = field(default_factory=list)

    def add(self, split: str, path: str, name: Name | None, content: Path | Member) -> None:
        """Note an image that is stored as SPLIT/`path`; `name` is None where it does not parse."""
        if name is None:
            self.unparsed.append(path)
        else:
            entry = Entry(f"{split}/{path}", name.identity, name.camera, split)
            self.images.append(IdentityImage(entry, content))

    def add_folder(
        self, tree: Tree, split: str, folder: str, parse: Callable[[str], Name | None]
    ) -> None:
        """Note the images that lie in one folder."""
        for file_name, content in tree.images(folder).items():
            self.add(split, file_name, parse(file_name), content)

    def entries(self) -> list[Entry]:
        """The rows alone, in the order found."""
        return [image.entry for image in self.images]


def rows_of_folders(tree: Tree, parse: Callable[[str], Name | None], inside: str = "") -> Rows:
    """The rows of a set in Market-1501's three folders, which lie below `inside`.

    Raises:
        PreparationError: A folder is missing or has no image.
    """
    rows = Rows()
    for split, folder in FOLDERS.items():
        rows.add_folder(tree, split, str(PurePosixPath(inside, folder)), parse)
    return rows


def store(
    out: Path,
    name: str,
    source: str,
    tree: Tree,
    rows: Rows,
    published: Mapping[str, Expected],
    *,
    settings: Mapping,
    allow_other_counts: bool,
    skip_unparsed: bool,
) -> Path:
    """Check the rows and their counts, and prepare the set in `out`.

    Args:
        out: An absent or empty folder, or one that holds this very set already.
        name: The set's name.
        source: Where it comes from, in words.
        tree: Where the images lie.
        rows: The images found.
        published: The expected counts of each split.
        settings: Which variant it is; a digest of the rows is added.
        allow_other_counts: Take a part of the set, or another edition of it.
        skip_unparsed: Leave out files whose name does not parse.

    Raises:
        PreparationError: A name does not parse, a rule of the layout is broken, a count differs,
            or `out` holds something else.
    """
    if rows.unparsed and not skip_unparsed:
        raise PreparationError(
            f"{name}: every image's name must parse; {len(rows.unparsed)} of "
            f"{len(rows.unparsed) + len(rows.images)} do not, such as "
            f"{', '.join(rows.unparsed[:LISTED])}; remove them, or leave them out with "
            "--skip-unparsed"
        )
    entries = rows.entries()
    check_entries(name, entries)
    if not allow_other_counts:
        check_counts(name, entries, published)
    in_zip = [image.content.size for image in rows.images if isinstance(image.content, Member)]
    notes = {"skipped_unparsed": len(rows.unparsed)} if rows.unparsed else {}
    return write_identity_set(
        out,
        name,
        source,
        rows.images,
        settings={**settings, "rows_sha256": sha256_of_rows(entries)},
        archives=tree.archives,
        notes=notes,
        total=len(rows.images),
        needed_bytes=sum(in_zip),
    )


@dataclass(frozen=True)
class FolderSet:
    """A set that lies in Market-1501's three folders, `FOLDERS`.

    Attributes:
        name: The set's name.
        origin: Where it comes from, in words.
        home: What it is and where it can be had; part of the errors.
        parse: What a file name says; None where it does not parse.
        published: The expected counts of each split.
    """

    name: str
    origin: str
    home: str
    parse: Callable[[str], Name | None]
    published: Mapping[str, Expected]

    def prepare(
        self,
        out: Path,
        source: Path,
        *,
        allow_other_counts: bool = False,
        skip_unparsed: bool = False,
    ) -> Path:
        """Prepare the set in `out`.

        Args:
            out: An absent or empty folder, or one that holds this very set already.
            source: The zip as it was handed out, or the unpacked folder or one above it.
            allow_other_counts: Do not compare with the published counts.
            skip_unparsed: Leave out images whose file name does not parse.

        Returns:
            `out`.

        Raises:
            PreparationError: A folder is missing, a name does not parse, a count differs, the zip
                is unsafe or damaged, `out` holds something else, or there is no space.
        """
        with open_tree(Path(source), [FOLDERS["train"]], self.home) as tree:
            return store(
                Path(out),
                self.name,
                self.origin,
                tree,
                rows_of_folders(tree, self.parse),
                self.published,
                settings={},
                allow_other_counts=allow_other_counts,
                skip_unparsed=skip_unparsed,
            )


def command_of(prepare: Callable[..., Path], text: str) -> Callable[..., None]:
    """The command of a set that has the options above and no other.

    Args:
        prepare: Takes the arguments of `FolderSet.prepare`.
        text: The command's help.

    Returns:
        A typed function for `data_prep.command.run`.
    """

    def main(
        out: Out,
        source: Source,
        allow_other_counts: AllowOtherCounts = False,
        skip_unparsed: SkipUnparsed = False,
    ) -> None:
        prepare(out, source, allow_other_counts=allow_other_counts, skip_unparsed=skip_unparsed)
        print(f"prepared: {out}")

    main.__doc__ = text
    return main


def check_counts(name: str, entries: Sequence[Entry], published: Mapping[str, Expected]) -> None:
    """Compare images and identities of each split with the published counts.

    Raises:
        PreparationError: They differ; each difference is named.
    """
    counts = split_counts(entries)
    differences = []
    for split in SPLITS:
        found, expected = counts[split], published[split]
        junk = found.get("junk", 0)
        compared = [
            ("images", expected.images, found["images"] - junk),
            ("identities", expected.identities, found["identities"]),
        ]
        if junk:  # copies without junk are in use: it is dropped in evaluation anyway
            compared.append(("junk images", expected.junk, junk))
        differences += [
            f"{split} {what}: expected {wanted:,}, found {number:,}"
            for what, wanted, number in compared
            if wanted != number
        ]
    if differences:
        raise PreparationError(
            f"{name} differs from its published counts ({'; '.join(differences)}); give the whole "
            "set, or take it as it is with --allow-other-counts"
        )
