"""MSMT17 (Wei et al., 2018): 4,101 people before fifteen cameras, in its editions V1 and V2.

The authors hand it out on request, with a release agreement; nothing is downloaded here. Both
editions have the same lists (list_train.txt, list_val.txt, list_query.txt, list_gallery.txt; lines
"path label"); the images lie in train/ and test/ in V1, in mask_train_v2/ and mask_test_v2/ in V2,
where faces are blurred. Following common practice, train and val are trained on together (32,621
images). Training and test number their people apart, each from 0000, so the index calls them
train_0000 and test_0000.

    python -m data_prep.msmt17 data/msmt17 MSMT17_V1
"""

from pathlib import Path, PurePosixPath

from data_prep import identity_names
from data_prep.command import run
from data_prep.errors import PreparationError
from data_prep.identity_names import Name
from data_prep.identity_rows import Expected, Rows, command_of, store
from data_prep.identity_sources import Tree, open_tree

NAME = "msmt17"
HOME = "https://www.pkuvmc.com/dataset.html"
_HELP = f"MSMT17 is had on request from {HOME}: give the unpacked folder, or a zip of it"
LISTS = {  # list, split, folder in V1 and V2
    "list_train.txt": ("train", "train"),
    "list_val.txt": ("train", "train"),
    "list_query.txt": ("query", "test"),
    "list_gallery.txt": ("gallery", "test"),
}
EDITIONS = {
    "V1": {"train": "train", "test": "test"},
    "V2": {"train": "mask_train_v2", "test": "mask_test_v2"},
}
PUBLISHED = {
    "train": Expected(images=32_621, identities=1_041),
    "query": Expected(images=11_659, identities=3_060),
    "gallery": Expected(images=82_161, identities=3_060),
}


def read_list(text: str, label: str) -> list[tuple[str, int]]:
    """Path and identity number of each line of a list.

    Raises:
        PreparationError: A line is not "path number".
    """
    rows = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        path, _, label_text = line.strip().rpartition(" ")
        if not (path and label_text.isascii() and label_text.isdigit()):
            raise PreparationError(
                f"a line of {label} must be 'path number'; line {number} is {line!r}; get the list "
                "again"
            )
        rows.append((path.strip(), int(label_text)))
    return rows


def edition_of(tree: Tree) -> str:
    """ "V1" or "V2", by the folder of the training images.

    Raises:
        PreparationError: Neither or both are there.
    """
    tops = {path.partition("/")[0] for path in tree.files}
    found = [edition for edition, folders in EDITIONS.items() if folders["train"] in tops]
    if len(found) != 1:
        wanted = " or ".join(repr(folders["train"]) for folders in EDITIONS.values())
        raise PreparationError(
            f"'{tree.label}' must have one folder of training images, {wanted}; it has "
            f"{'both' if found else 'neither'}; give one edition's folder"
        )
    return found[0]


def _rows(tree: Tree, edition: str) -> Rows:
    rows = Rows()
    for listing, (split, kind) in LISTS.items():
        folder = EDITIONS[edition][kind]
        for path, number in read_list(tree.text(listing), f"'{listing}' of '{tree.label}'"):
            content = tree.files.get(f"{folder}/{path}")
            if content is None:
                raise PreparationError(
                    f"'{listing}' lists '{path}', which '{folder}' of '{tree.label}' lacks; get "
                    "the images again"
                )
            name = identity_names.msmt17(PurePosixPath(path).name)
            if name is not None and int(name.identity) != number:
                raise PreparationError(
                    f"'{listing}' gives '{path}' the identity {number}, its name says "
                    f"{name.identity}; get the lists of this edition again"
                )
            person = name and Name(f"{kind}_{name.identity}", name.camera)
            rows.add(split, path, person, content)
    return rows


def prepare(
    out: Path, source: Path, *, allow_other_counts: bool = False, skip_unparsed: bool = False
) -> Path:
    """Prepare MSMT17 in `out`.

    Args:
        out: An absent or empty folder, or one that holds this very set already.
        source: The unpacked folder of V1 or V2, one above it, or a zip of it.
        allow_other_counts: Do not compare with the published counts.
        skip_unparsed: Leave out images whose file name does not parse.

    Returns:
        `out`.

    Raises:
        PreparationError: A list or an image is missing, a name does not parse or contradicts its
            list, a count differs, the zip is unsafe or damaged, `out` holds something else, or
            there is no space.
    """
    out = Path(out)
    with open_tree(Path(source), ["list_train.txt"], _HELP) as tree:
        edition = edition_of(tree)
        return store(
            out,
            NAME,
            f"MSMT17 {edition}, {HOME}",
            tree,
            _rows(tree, edition),
            PUBLISHED,
            settings={"edition": edition},
            allow_other_counts=allow_other_counts,
            skip_unparsed=skip_unparsed,
        )


main = command_of(
    prepare,
    """Prepare MSMT17, V1 or V2, from its folder or a zip of it.

    Example: python -m data_prep.msmt17 data/msmt17 MSMT17_V1
    """,
)

if __name__ == "__main__":
    run(main)
