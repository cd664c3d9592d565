"""What the file names of the re-identification sets say: who is seen, and by which camera.

Each parser takes a plain file name and returns None where the name does not follow its set's
pattern; nothing is guessed. Identities stay the text of the name, with two exceptions that the
layout asks for: junk is "-1", and Market-1501's distractors are "0".
"""

import re
from typing import NamedTuple

DISTRACTOR = "0"
_FLAGS = re.IGNORECASE | re.ASCII

# Identity, camera, sequence, frame, box: 0002_c1s1_000451_03.jpg
_MARKET1501 = re.compile(r"(-1|\d{4})_c([1-6])s\d_\d{6}_\d{2,}\.(?:jpe?g|png)", _FLAGS)
# Identity, camera, frame: 0001_c2_f0046182.jpg
_DUKEMTMC = re.compile(r"(\d{4})_c([1-8])_f\d{7}\.(?:jpe?g|png)", _FLAGS)
# Identity, view, number: 0001_c1_1.png
_CUHK03_NP = re.compile(r"(\d{4})_c([12])_\d+\.(?:png|jpe?g)", _FLAGS)
# Camera pair, person of that pair, view, number: 1_001_1_01.png
_CUHK03_EXTRACTED = re.compile(r"([1-5])_(\d{3})_([12])_\d{2}\.(?:png|jpe?g)", _FLAGS)
# Identity, number, camera, date with time of day, frame, box: 0000_000_01_0303morning_0008_0.jpg;
# some end in a tag: 0114_019_10_0303noon_0284_2_ex.jpg
_MSMT17 = re.compile(
    r"(\d{4})_\d{3,}_(\d{2})_\d{4}(?:morning|noon|afternoon)_\d+_\d+(?:_[a-z]+)?\.(?:jpe?g|png)",
    _FLAGS,
)
_MSMT17_CAMERAS = range(1, 16)


class Name(NamedTuple):
    """Who is seen, and by which camera."""

    identity: str
    camera: str


def market1501(file_name: str) -> Name | None:
    """Market-1501, six cameras; the camera alone counts, not its sequence."""
    match = _MARKET1501.fullmatch(file_name)
    if match is None:
        return None
    return Name(DISTRACTOR if match[1] == "0000" else match[1], match[2])


def dukemtmc(file_name: str) -> Name | None:
    """DukeMTMC-reID, eight cameras."""
    match = _DUKEMTMC.fullmatch(file_name)
    return match and Name(match[1], match[2])


def cuhk03_np(file_name: str) -> Name | None:
    """CUHK03 as the authors of the new protocol handed it out, two views as cameras."""
    match = _CUHK03_NP.fullmatch(file_name)
    return match and Name(match[1], match[2])


def cuhk03_extracted(file_name: str) -> Name | None:
    """CUHK03 as torchreid extracts it from cuhk-03.mat.

    A person is numbered within a pair of cameras, so pair and number together are the identity;
    the camera is the view, 1 or 2, as in the new protocol's own lists.
    """
    match = _CUHK03_EXTRACTED.fullmatch(file_name)
    return match and Name(f"{match[1]}_{match[2]}", match[3])


def msmt17(file_name: str) -> Name | None:
    """MSMT17, fifteen cameras. Training and test number their identities apart, each from 0000."""
    match = _MSMT17.fullmatch(file_name)
    if match is None or int(match[2]) not in _MSMT17_CAMERAS:
        return None
    return Name(match[1], match[2])
