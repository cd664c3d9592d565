"""Fetching an archive that its home lets anyone download."""

import http.client
import os
import tempfile
from contextlib import suppress
from pathlib import Path

from data_prep.archives import verify_checksum
from data_prep.errors import PreparationError


def archive_in(
    folder: Path, url: str, file_name: str, md5: str, download: bool
) -> tuple[Path, str]:
    """The verified archive in `folder`, downloaded through torchvision if it is absent.

    A file that is already there is never replaced: with a wrong checksum it is an error.

    Args:
        folder: Where the archive lies, or shall lie.
        url: Its home.
        file_name: Its name there.
        md5: Its checksum.
        download: Whether an absent archive may be downloaded.

    Returns:
        The path and the archive's sha256.

    Raises:
        PreparationError: Absent and not to be downloaded, not downloadable, or damaged.
    """
    archive = folder / file_name
    if not archive.exists():
        if not download:
            raise PreparationError(
                f"no '{file_name}' in '{folder}'; download {url} and place it there, or ask for "
                "the download"
            )
        _download(url, archive, md5)
    return archive, verify_checksum(archive, md5, "md5", url)


def _download(url: str, archive: Path, md5: str) -> None:
    from torchvision.datasets.utils import download_url  # costs seconds: only where it is needed

    is_new = not archive.parent.exists()
    try:
        archive.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".download-", dir=archive.parent) as partial:
            download_url(url, partial, archive.name, md5)
            os.replace(Path(partial, archive.name), archive)
    # URLError and time-outs are OSErrors; torchvision's checksum complaint is a RuntimeError.
    except (OSError, RuntimeError, http.client.HTTPException) as error:
        raise PreparationError(
            f"cannot download {url} ({error}); get it by other means and place it in "
            f"'{archive.parent}'"
        ) from None
    finally:
        if is_new:
            with suppress(OSError):  # it holds the archive, or was never made
                archive.parent.rmdir()
