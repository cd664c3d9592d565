"""Omniglot (Lake et al., 2015) for open-set retrieval: who has drawn does not matter, what does.

The identity is a character, ALPHABET/characterNN; the camera is its drawer, of whom each character
has 20, with one drawing each. Numbers name the same drawer within one alphabet alone, which
suffices: the protocol compares cameras within an identity.

Split by rule. Alphabets in sorted order of their names are for training, as many as bring the
share of training characters nearest to 60 %, and the others for testing (or those that are named).
Of a test character the first drawers in order of their numbers (4 by default) are queries and the
others the gallery; so the protocol's removal of the query's own drawer removes nothing.

Read are the official zips, images_background.zip and images_evaluation.zip (or the smaller
images_background_small1.zip and ..._small2.zip), or a pack of them with an index.csv. Drawings,
1-bit PNG of 105 x 105 pixels, are stored as they are: black strokes on white.

    python -m data_prep.omniglot data/omniglot downloads --download
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from data_prep.archives import Member, open_zip
from data_prep.command import run
from data_prep.download import archive_in
from data_prep.errors import PreparationError
from data_prep.identity_layout import Entry, IdentityImage, write_identity_set
from data_prep.packs import INDEX, archive_record, find_zips, index_rows, read_checked

NAME = "omniglot"
HOME = "https://github.com/brendenlake/omniglot/tree/master/python"
OFFICIAL = ("images_background", "images_evaluation")
TRAIN_SHARE = 0.6
FORMS = (
    [f"{name}.zip" for name in OFFICIAL],
    ["images_background_small1.zip", "images_background_small2.zip"],
    ["omniglot*.zip"],
)
_DRAWING = re.compile(r"images_\w+/([^/]+)/(character\d\d)/\d{4}_(\d\d)\.png")
_COLUMNS = ("file", "alphabet", "character", "drawer", "sha256")


@dataclass(frozen=True)
class Drawing:
    """One drawing of one character."""

    alphabet: str
    character: str
    drawer: int
    member: Member
    sha256: str | None = None

    @property
    def key(self) -> tuple[str, str, int]:
        return self.alphabet, self.character, self.drawer

    def read(self) -> bytes:
        """Its bytes.

        Raises:
            PreparationError: They do not have the checksum that the pack's index gives.
        """
        return self.member.read() if self.sha256 is None else read_checked(self.member, self.sha256)


def official_checksums() -> tuple[str, dict[str, str]]:
    """What torchvision knows: the address of the official zips, and their md5 by name.

    Raises:
        PreparationError: torchvision keeps them elsewhere.
    """
    from torchvision.datasets import Omniglot  # costs seconds: only where it is needed

    try:
        return Omniglot.download_url_prefix, {name: Omniglot.zips_md5[name] for name in OFFICIAL}
    except (AttributeError, KeyError):
        raise PreparationError(
            "this torchvision keeps Omniglot's checksums elsewhere than 0.26 to 0.29; install one "
            "of those"
        ) from None


def find_archives(source: Path, download: bool) -> tuple[list[Path], list[dict]]:
    """The archives at `source`, fetched into that folder if asked for, and their records.

    Raises:
        PreparationError: There is none, it is damaged, or it cannot be downloaded.
    """
    if download:
        prefix, sums = official_checksums()
        found = [
            archive_in(source, f"{prefix}/{name}.zip", f"{name}.zip", md5, True)
            for name, md5 in sums.items()
        ]
        records = [{"file": path.name, "sha256": sha256} for path, sha256 in found]
        return [path for path, _ in found], records
    archives = find_zips(source, FORMS, HOME)
    is_official = any(path.stem in OFFICIAL for path in archives)
    sums = official_checksums()[1] if is_official else {}
    return archives, [archive_record(path, HOME, sums.get(path.stem)) for path in archives]


def drawings(members: Mapping[str, Member], archive: str) -> list[Drawing]:
    """The drawings of one zip, official or pack.

    Raises:
        PreparationError: It is neither, or its index does not fit its files.
    """
    if INDEX in members:
        return [
            Drawing(
                row["alphabet"],
                f"character{int(row['character']):02d}",
                int(row["drawer"]),
                members[row["file"]],
                row["sha256"],
            )
            for row in index_rows(members, archive, _COLUMNS)
        ]
    matches = ((_DRAWING.fullmatch(path), member) for path, member in members.items())
    found = [Drawing(m[1], m[2], int(m[3]), member) for m, member in matches if m]
    if not found:
        raise PreparationError(
            f"'{archive}' holds no drawings (images_*/ALPHABET/characterNN/NNNN_DD.png) and no "
            f"{INDEX}; get it again from {HOME}"
        )
    return found


def unify(found: Sequence[Drawing]) -> tuple[list[Drawing], int]:
    """The drawings without those that several archives hold alike, and how many were left out.

    Raises:
        PreparationError: Two drawings of one character by one drawer differ.
    """
    unique: dict[tuple[str, str, int], Drawing] = {}
    for drawing in found:
        first = unique.setdefault(drawing.key, drawing)
        if first is not drawing and first.read() != drawing.read():
            raise PreparationError(
                f"'{drawing.member.path}' of '{drawing.member.archive}' differs from "
                f"'{first.member.path}' of '{first.member.archive}'; give archives of one set"
            )
    return [unique[key] for key in sorted(unique)], len(found) - len(unique)


def split_alphabets(characters: Mapping[str, int], test: Sequence[str] = ()) -> list[str]:
    """The alphabets for testing.

    Args:
        characters: Number of characters of each alphabet.
        test: Their names; by the rule in this module's header when empty.

    Raises:
        PreparationError: An alphabet is unknown, or none is left to train or to test with.
    """
    names = sorted(characters)
    if unknown := sorted(set(test) - set(names)):
        raise PreparationError(
            f"unknown alphabet {unknown[0]!r}; the archives have {', '.join(names)}"
        )
    if not test:
        total = sum(characters.values())
        shares = [sum(characters[n] for n in names[:i]) / total for i in range(1, len(names))]
        if shares:
            count = min(range(len(shares)), key=lambda i: abs(shares[i] - TRAIN_SHARE)) + 1
            return names[count:]
    if not test or set(test) == set(names):
        raise PreparationError(
            f"training and testing need alphabets of their own; the archives have "
            f"{', '.join(names)}; name fewer test alphabets or give more archives"
        )
    return sorted(set(test))


def entries(
    found: Sequence[Drawing], test: Sequence[str], query_drawers: int
) -> list[tuple[Entry, Drawing]]:
    """The rows of the set, each with its drawing.

    Raises:
        PreparationError: A test character has no drawer left for the gallery.
    """
    drawers: dict[tuple[str, str], list[int]] = {}
    for drawing in found:
        drawers.setdefault(drawing.key[:2], []).append(drawing.drawer)
    rows = []
    for drawing in found:
        alphabet, character, drawer = drawing.key
        known = sorted(drawers[alphabet, character])
        split = "train"
        if alphabet in test:
            if not 1 <= query_drawers < len(known):
                raise PreparationError(
                    f"query_drawers must lie between 1 and {len(known) - 1}, as "
                    f"{alphabet}/{character} has {len(known)} drawers; got {query_drawers}"
                )
            split = "query" if drawer in known[:query_drawers] else "gallery"
        path = f"{split}/{alphabet}/{character}/{drawer:02d}.png"
        rows.append((Entry(path, f"{alphabet}/{character}", f"{drawer:02d}", split), drawing))
    return rows


def _images(rows: Sequence[tuple[Entry, Drawing]]) -> Iterator[IdentityImage]:
    for entry, drawing in rows:
        yield IdentityImage(entry, drawing.read())


def prepare(
    out: Path,
    source: Path,
    *,
    test_alphabets: Sequence[str] = (),
    query_drawers: int = 4,
    download: bool = False,
) -> Path:
    """Prepare Omniglot in `out`.

    Args:
        out: An absent or empty folder, or one that holds this very set already.
        source: A zip, or a folder with the official zips, the small ones or a pack.
        test_alphabets: Their names; by the rule in this module's header when empty.
        query_drawers: How many drawers of a test character are queries.
        download: Fetch the official zips into the folder `source` if they are absent.

    Returns:
        `out`.

    Raises:
        PreparationError: No archive or a damaged one, an unknown alphabet, too many query
            drawers, `out` holds something else, or there is no space.
    """
    archives, records = find_archives(Path(source), download)
    with ExitStack() as stack:
        found = []
        for archive in archives:
            found += drawings(stack.enter_context(open_zip(archive)), archive.name)
        unique, repeated = unify(found)
        alphabets: dict[str, set[str]] = {}
        for drawing in unique:
            alphabets.setdefault(drawing.alphabet, set()).add(drawing.character)
        test = split_alphabets({n: len(c) for n, c in alphabets.items()}, test_alphabets)
        rows = entries(unique, test, query_drawers)
        notes = {
            "rule": f"alphabets by name, training nearest to {TRAIN_SHARE:.0%} of the characters; "
            f"queries are the first {query_drawers} drawers of a test character"
            if not test_alphabets
            else f"test alphabets as named; queries are the first {query_drawers} drawers",
            "train_alphabets": sorted(set(alphabets) - set(test)),
            "excluded_duplicates": repeated,
        }
        return write_identity_set(
            Path(out),
            NAME,
            f"Omniglot, {HOME}",
            _images(rows),
            settings={"test_alphabets": test, "query_drawers": query_drawers},
            archives=records,
            notes=notes,
            total=len(rows),
        )


def main(
    out: Annotated[Path, typer.Argument(help="Folder to write; absent or empty.")],
    source: Annotated[Path, typer.Argument(help="The zip, or the folder of the zips.")],
    test_alphabet: Annotated[
        list[str] | None, typer.Option(help="Test on this alphabet; several times for several.")
    ] = None,
    query_drawers: Annotated[int, typer.Option(help="Query drawers of a test character.")] = 4,
    download: Annotated[bool, typer.Option(help="Fetch the official zips if absent.")] = False,
) -> None:
    """Prepare Omniglot for open-set retrieval: no identity of testing occurs in training.

    Example: python -m data_prep.omniglot data/omniglot downloads --download
    """
    prepare(
        out,
        source,
        test_alphabets=test_alphabet or (),
        query_drawers=query_drawers,
        download=download,
    )
    print(f"prepared: {out}")


if __name__ == "__main__":
    run(main)
