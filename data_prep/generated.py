"""What the rendered sets share: their pictures as PNG, and the note on what has made them."""

import io
from collections.abc import Mapping

import numpy as np
import PIL
from PIL import Image


def png(pixels: np.ndarray) -> bytes:
    """A picture (H, W, 3) or a mask (H, W), uint8, as a PNG file."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="PNG", compress_level=4)
    return stream.getvalue()


def generator_note(module: str, settings: Mapping[str, int]) -> dict[str, object]:
    """The manifest's entry "generator": the same of it give the same bytes.

    Args:
        module: What renders the set, e.g. "data_prep.embedded".
        settings: What shaped the set.
    """
    versions = {"numpy": np.__version__, "pillow": PIL.__version__}
    return {"module": module, **settings, **versions}
