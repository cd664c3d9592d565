"""Finding a re-identification set where researchers hold it: an unpacked folder, or its zip.

The source is only read. A zip is read in place and never unpacked; its members are checked by
`data_prep.archives`.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from data_prep.archives import Member, digests, open_zip
from data_prep.errors import PreparationError

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png"}
DEEPEST_TOP = 3  # folders between the source and the set's top folder
LISTED = 3  # examples that an error names


@dataclass(frozen=True)
class Tree:
    """The files of one set by path below its top folder, as files or as members of a zip.

    Attributes:
        label: What errors call the source.
        marker: The marker by which the set was found, and so its form.
        files: Content by path.
        archives: [{"file", "sha256"}] of the zip; empty for a folder.
    """

    label: str
    marker: str
    files: Mapping[str, Path | Member]
    archives: list[dict]

    def images(self, folder: str) -> dict[str, Path | Member]:
        """The images that lie in a folder itself, by file name, sorted; other files are left out.

        Raises:
            PreparationError: There is no such folder, or no image in it.
        """
        found = {}
        for path, content in self.files.items():
            pure = PurePosixPath(path)
            if str(pure.parent) == folder and pure.suffix.lower() in IMAGE_SUFFIXES:
                found[pure.name] = content
        if not found:
            raise PreparationError(
                f"'{self.label}' has no images in '{folder}'; give the whole set as it was handed "
                "out"
            )
        return dict(sorted(found.items()))

    def text(self, path: str) -> str:
        """The content of a text file.

        Raises:
            PreparationError: There is none, or it is no text.
        """
        content = self.files.get(path)
        if content is None:
            raise PreparationError(
                f"'{self.label}' has no file '{path}'; give the whole set as it was handed out"
            )
        try:
            raw = content.read_bytes() if isinstance(content, Path) else content.read()
            return raw.decode("utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise PreparationError(
                f"cannot read '{path}' of '{self.label}' ({error}); get it again"
            ) from None


@contextmanager
def open_tree(source: Path, markers: Sequence[str], home: str) -> Iterator[Tree]:
    """Find a set in a folder or a zip archive, at its top or up to three folders deeper.

    Args:
        source: The folder or the zip.
        markers: For each form in which the set is held, a file or folder relative to the set's top
            that only this form has; the first one found counts.
        home: What the set is and where it can be had; part of the errors.

    Raises:
        PreparationError: There is nothing at `source`, no set in it or several, or the zip is
            unsafe or damaged.
    """
    if source.is_dir():
        marker, top = _only_top(lambda marker: _folder_tops(source, marker), source, markers, home)
        yield Tree(str(source), marker, _folder_files(source / top), [])
    elif source.is_file():
        if source.name.lower().endswith((".tar", ".tgz", ".tar.gz", ".7z", ".rar")):
            raise PreparationError(
                f"'{source}' must be a folder or a zip; unpack this archive and give its folder"
            )
        with open_zip(source) as members:
            visible = {path: member for path, member in members.items() if not _hidden(path)}
            marker, top = _only_top(lambda m: _zip_tops(visible, m), source, markers, home)
            prefix = "" if top == "." else f"{top}/"
            files = {p.removeprefix(prefix): m for p, m in visible.items() if p.startswith(prefix)}
            record = {"file": source.name, "sha256": digests(source)["sha256"]}
            yield Tree(source.name, marker, files, [record])
    else:
        raise PreparationError(f"nothing is at '{source}'; {home}")


def _hidden(path: str) -> bool:
    # Some systems leave "._name.jpg" beside each file, in zips below __MACOSX.
    return any(part.startswith(".") or part == "__MACOSX" for part in path.split("/"))


def _folder_tops(source: Path, marker: str) -> list[str]:
    level = [source]
    for _ in range(DEEPEST_TOP + 1):
        if tops := [folder for folder in level if (folder / marker).exists()]:
            return [folder.relative_to(source).as_posix() for folder in tops]
        try:
            level = [
                Path(entry.path)
                for folder in level
                for entry in sorted(os.scandir(folder), key=lambda entry: entry.name)
                if entry.is_dir() and not _hidden(entry.name)
            ]
        except OSError as error:
            raise PreparationError(
                f"cannot read '{error.filename}': {error.strerror}; correct its permissions"
            ) from None
    return []


def _zip_tops(files: Iterable[str], marker: str) -> list[str]:
    tops = set()
    for path in files:
        inside = f"/{path}/"
        if f"/{marker}/" in inside:
            tops.add(inside.partition(f"/{marker}/")[0].strip("/") or ".")
    depths = {top: 0 if top == "." else top.count("/") + 1 for top in tops}
    shallowest = min(depths.values(), default=0)
    return sorted(t for t, depth in depths.items() if depth == shallowest <= DEEPEST_TOP)


def _only_top(
    tops_with: Callable[[str], list[str]], source: Path, markers: Sequence[str], home: str
) -> tuple[str, str]:
    """The first marker that is there, and the one folder that has it."""
    for marker in markers:
        tops = tops_with(marker)
        if len(tops) > 1:
            raise PreparationError(
                f"'{source}' holds {len(tops)} sets with '{marker}': {', '.join(tops[:LISTED])}; "
                "give the folder of one"
            )
        if tops:
            return marker, tops[0]
    wanted = " and no ".join(f"'{marker}'" for marker in markers)
    raise PreparationError(f"'{source}' holds no {wanted}; {home}")


def _folder_files(top: Path) -> dict[str, Path]:
    def refuse(error: OSError) -> None:
        raise PreparationError(
            f"cannot read '{error.filename}': {error.strerror}; correct its permissions"
        )

    found = {}
    for folder, _, names in os.walk(top, onerror=refuse, followlinks=True):
        inside = Path(folder).relative_to(top)
        for name in names:
            if not _hidden(path := (inside / name).as_posix()):
                found[path] = Path(folder, name)
    return found
