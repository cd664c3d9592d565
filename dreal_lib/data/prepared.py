"""Whether a data root is what `dreal prepare` wrote there, whole and unchanged."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dreal_lib.data.images import content_fingerprint, read_manifest
from dreal_lib.errors import UserError

SUMS = "SHA256SUMS"  # beside the manifest, which has a hash of it (`data_prep.layout`)


def unchanged_manifest(
    root: Path, files: Sequence[str], folders: Sequence[str], contents: str = ""
) -> dict[str, Any] | None:
    """The manifest of a prepared set, if the images found in it are those of its checksums.

    Args:
        root: The data root.
        files: The images that were found, relative to `root`.
        folders: Where they were looked for, e.g. "train/cat": an image that the checksums list
            there and that was not found is missing.
        contents: The fingerprint of what the files hold (`content_fingerprint`); "" where they
            were not read: their names, and a list of identities, have to do.

    Returns:
        None if there is no manifest, or if anything is missing, added or changed.
    """
    try:
        manifest = read_manifest(root)
        lines = (root / SUMS).read_text(encoding="utf-8").splitlines()
        index = root / "index.csv"
        listing = hashlib.sha256(index.read_bytes()).hexdigest() if index.is_file() else None
    except (UserError, OSError, UnicodeDecodeError):
        return None
    sums = {path: digest for digest, _, path in (line.partition("  ") for line in lines)}
    tops = tuple(f"{folder}/" for folder in folders)
    unchanged = (
        content_fingerprint(sums) == manifest.get("files_sha256")
        and sums.get(index.name) == listing
        and {file for file in sums if file.startswith(tops)} == set(files)
        and contents in ("", content_fingerprint({file: sums.get(file, "") for file in files}))
    )
    return manifest if unchanged else None
