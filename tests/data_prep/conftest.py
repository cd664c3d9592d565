"""What the tests of data_prep share: tiny images and a look at what lies in a folder."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def jpeg():
    """A function that makes a small JPEG; each number gives another picture."""

    def make(number: int, size: tuple[int, int] = (8, 6), mode: str = "RGB") -> bytes:
        rng = np.random.default_rng(number)
        shape = (size[1], size[0], 3) if mode == "RGB" else (size[1], size[0])
        stream = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(stream, format="JPEG")
        return stream.getvalue()

    return make


@pytest.fixture
def listing():
    """A function that lists all files and folders below a folder, hidden ones included."""

    def names(folder: Path) -> list[str]:
        return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))

    return names
