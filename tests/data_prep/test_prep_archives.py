"""Hostile and damaged archives: nothing may leave the target, and each error is one line."""

import io
import os
import shutil
import stat
import tarfile
import zipfile
from collections import namedtuple

import pytest

from data_prep import archives
from data_prep.errors import PreparationError

HOSTILE_NAMES = [
    "../out.txt",
    "inside/../../out.txt",
    "/tmp/out_of_data_prep.txt",
    "C:\\out.txt",
    "C:out.txt",
    "..\\out.txt",
    "new\nline.txt",
]


def write_zip(path, entries):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries:
            archive.writestr(name, content)


def write_tar(path, entries, mode="w"):
    """Entries are (name or TarInfo, content)."""
    with tarfile.open(path, mode) as archive:
        for entry, content in entries:
            info = entry if isinstance(entry, tarfile.TarInfo) else tarfile.TarInfo(entry)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


WRITERS = {"zip": write_zip, "tar": write_tar}


@pytest.fixture
def target(tmp_path):
    """A folder inside an otherwise empty folder, so that an escape shows."""
    folder = tmp_path / "cage" / "target"
    folder.mkdir(parents=True)
    return folder


def assert_refused(archive, target, match):
    with pytest.raises(PreparationError, match=match) as caught:
        archives.extract(archive, target)
    assert "\n" not in str(caught.value)
    assert archive.name in str(caught.value)
    assert [path.name for path in target.parent.rglob("*")] == ["target"], "something was written"


def test_digests_are_those_of_the_standards(tmp_path):
    # FIPS 180-4 and RFC 1321 give the digests of "abc".
    expected = {
        "sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        "md5": "900150983cd24fb0d6963f7d28e17f72",
    }
    path = tmp_path / "abc"
    path.write_bytes(b"abc")
    assert archives.digests(path, ("sha256", "md5")) == expected


@pytest.mark.parametrize("algorithm", ["md5", "sha256"])
def test_a_wrong_checksum_is_named_with_the_remedy(tmp_path, algorithm):
    path = tmp_path / "set.tar"
    path.write_bytes(b"abc")
    right = archives.digests(path, (algorithm,))[algorithm]
    sha256 = archives.digests(path)["sha256"]
    assert archives.verify_checksum(path, right.upper(), algorithm, "home") == sha256
    with pytest.raises(PreparationError, match=rf"set\.tar.*{right}.*expected 00.*again from home"):
        archives.verify_checksum(path, "00", algorithm, "home")


@pytest.mark.parametrize(("kind", "mode"), [("zip", "w"), ("tar", "w"), ("tar", "w:gz")])
def test_plain_archives_round_trip(tmp_path, target, kind, mode):
    entries = [("./a.txt", b"first"), ("b/c/d.bin", bytes(range(256)) * 999), ("empty", b"")]
    path = tmp_path / "good.archive"
    WRITERS[kind](path, entries, mode) if kind == "tar" else write_zip(path, entries)
    archives.extract(path, target)
    found = {str(p.relative_to(target)): p.read_bytes() for p in target.rglob("*") if p.is_file()}
    assert found == {name.removeprefix("./"): content for name, content in entries}


@pytest.mark.parametrize("name", HOSTILE_NAMES)
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_hostile_name_is_refused_before_anything_is_written(tmp_path, target, kind, name):
    path = tmp_path / f"hostile.{kind}"
    WRITERS[kind](path, [("good.txt", b"good"), (name, b"bad")])
    assert_refused(path, target, "not safe to extract")


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE]
)
@pytest.mark.parametrize("points_at", ["/etc", "../..", "good.txt"])
def test_links_and_devices_in_a_tar_are_refused(tmp_path, target, kind, points_at):
    link = tarfile.TarInfo("link")
    link.type, link.linkname = kind, points_at
    path = tmp_path / "links.tar"
    write_tar(path, [("good.txt", b"good"), (link, b""), ("link/through.txt", b"bad")])
    assert_refused(path, target, "'link' is a link, a device")


def test_a_symbolic_link_in_a_zip_is_refused(tmp_path, target):
    link = zipfile.ZipInfo("link")
    link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    path = tmp_path / "link.zip"
    write_zip(path, [("good.txt", b"good"), (link, b"../../")])
    assert_refused(path, target, "a link or a device")


def test_an_encrypted_zip_is_refused(tmp_path, target):
    path = tmp_path / "locked.zip"
    write_zip(path, [("a.txt", b"a")])
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1  # the flag in the directory
    path.write_bytes(content)
    assert_refused(path, target, "encrypted")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_comes_twice_is_refused_and_nothing_is_replaced(tmp_path, target):
    path = tmp_path / "twice.zip"
    write_zip(path, [("a.txt", b"first"), ("./a.txt", b"second")])
    assert_refused(path, target, "twice")
    path = tmp_path / "once.tar"
    write_tar(path, [("mine.txt", b"the archive's")])
    (target / "mine.txt").write_bytes(b"the user's")
    with pytest.raises(PreparationError, match="twice"):
        archives.extract(path, target)
    assert (target / "mine.txt").read_bytes() == b"the user's"


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
def test_a_truncated_archive_is_refused_wherever_it_ends(tmp_path, kind):
    content = b"".join(bytes([i % 251, i % 13]) for i in range(1500))
    entries = [("a.bin", content), ("b.bin", content[::-1])]
    whole = tmp_path / f"whole.{kind}"
    if kind == "zip":
        write_zip(whole, entries)
        end = whole.stat().st_size
    elif kind == "tar":
        write_tar(whole, entries)
        end = 2 * (512 + 3072) + 512  # two headers with padded contents, the end marker
    else:
        write_tar(whole, entries, "w:gz")
        end = whole.stat().st_size
    data = whole.read_bytes()
    cut = tmp_path / f"cut.{kind}"
    for length in [*range(0, end, 171), end - 1, 512 + 3072]:
        if length >= end:
            continue
        cut.write_bytes(data[:length])
        target = tmp_path / "target"
        target.mkdir()
        with pytest.raises(PreparationError, match=r"cut\..*damaged or truncated") as caught:
            archives.extract(cut, target)
        assert "\n" not in str(caught.value), length
        shutil.rmtree(target)


def test_a_flipped_bit_in_a_zip_is_refused(tmp_path, target):
    path = tmp_path / "flipped.zip"
    write_zip(path, [("a.txt", os.urandom(5000))])
    content = bytearray(path.read_bytes())
    content[2000] ^= 1
    path.write_bytes(content)
    with archives.open_zip(path) as found, pytest.raises(PreparationError, match="damaged"):
        found["a.txt"].read()
    with pytest.raises(PreparationError, match="damaged"):
        archives.extract(path, target)


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_what_does_not_fit_on_the_disk_is_refused_unread(tmp_path, target, kind, monkeypatch):
    path = tmp_path / f"bomb.{kind}"
    WRITERS[kind](path, [(f"{i}.bin", bytes(1 << 20)) for i in range(8)])
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(9 << 20, 2 << 20, 7 << 20))
    assert_refused(path, target, "no space left")


def test_a_member_too_large_for_memory_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "large.zip"
    write_zip(path, [("a.bin", bytes(3 << 20))])
    monkeypatch.setattr(archives, "MEMBER_LIMIT_BYTES", 2 << 20)
    with archives.open_zip(path) as found, pytest.raises(PreparationError, match="2 MiB at most"):
        found["a.bin"].read()


def test_a_missing_archive_is_named(tmp_path):
    with pytest.raises(PreparationError, match=r"absent\.zip"):
        list(archives.members(tmp_path / "absent.zip"))
    with pytest.raises(PreparationError, match=r"absent\.zip"):
        archives.digests(tmp_path / "absent.zip")
