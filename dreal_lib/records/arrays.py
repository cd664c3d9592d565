"""The arrays that figures are drawn from: each name, shape, type and meaning, said once.

An `Array` is the name under which an array lies in a run's npz, and knows what lies there. Who
writes and who reads takes it from here: `data[RIGHT]`. In the name of several arrays alike, `{}`
stands for what tells them apart, a map's name or a score's: `data[MAP_MEAN.of("layer1.0")]`.

Letters of shapes (a digit is a size): N validation images, M bypassed units, K classes; C channels,
or H, W places of a map; h, w cells of a heat map. Of retrieval: V queries with a match, S kept
queries, R places of a ranked list, P pairs. A letter is one size within a run, but C, H and W are
each map's own.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from dreal_lib.errors import UserError

TEXT = "text"


class Array(str):
    """The name of an array in the figure data.

    Args:
        name: Perhaps with `{}`, see above.
        shape: Letters with spaces between, "" for a single value; "C | H W" allows two.
        dtype: numpy's name, or "text".
        meaning: Of an entry, with its unit if it has one.
        always: Every run of a task that declares it keeps it.
    """

    def __new__(cls, name: str, shape: str, dtype: str, meaning: str, always: bool = False):
        made = super().__new__(cls, name)
        made.shape, made.dtype, made.meaning, made.always = shape, dtype, meaning, always
        return made

    def of(self, part: str) -> "Array":
        """One of several arrays alike: that of a map or score."""
        return Array(self.format(part), self.shape, self.dtype, self.meaning, self.always)

    def parts_in(self, names: Iterable[str]) -> list[str]:
        """Of which maps or scores there is such an array among names."""
        before, after = self.split("{}")
        return [n[len(before) : len(n) - len(after)] for n in names if self.fits(n)]

    def fits(self, name: str) -> bool:
        """Whether a name is this one, whatever stands for `{}`."""
        before, brackets, after = self.partition("{}")
        if not brackets:
            return name == self
        length = len(before) + len(after)
        return name.startswith(before) and name.endswith(after) and len(name) > length

    def problem(self, value: np.ndarray, sizes: dict[str, int] | None = None) -> str | None:
        """What is wrong with an array of this name; None if nothing is.

        Args:
            value: The array.
            sizes: Of letters so far; takes up those of this array. None: sizes are not compared.
        """
        kind = TEXT if value.dtype.kind == "U" else value.dtype.name
        if kind != self.dtype:
            return f"is {kind}, not {self.dtype}"
        choices = [choice.split() for choice in self.shape.split("|")]
        letters = next((found for found in choices if len(found) == value.ndim), None)
        if letters is None:
            return f"has shape {value.shape}, not ({self.shape})"
        for letter, size in zip(letters, value.shape, strict=True):
            if letter.isdigit() and int(letter) != size:
                return f"has shape {value.shape}, not ({self.shape})"
            if sizes is not None and sizes.setdefault(letter, size) != size:
                return f"has {letter} = {size}, where other arrays have {letter} = {sizes[letter]}"
        return None


class FigureData(dict[str, np.ndarray]):
    """A run's arrays by name; one taken by its `Array` is there and is what it should be.

    Args:
        arrays: By name.
        path: Of the record, for errors.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray], path: Path):
        super().__init__(arrays)
        self.path = path

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self:
            meaning = f" ({name.meaning})" if isinstance(name, Array) else ""
            raise UserError(
                f"{name}{meaning} is missing in the figure data of record {self.path}; run its "
                "recipe again"
            )
        value = super().__getitem__(name)
        wrong = name.problem(value) if isinstance(name, Array) else None
        if wrong:
            raise UserError(f"{name} of record {self.path} {wrong}; run its recipe again")
        return value

    def get(self, name: str, default: object = None) -> object:
        return self[name] if name in self else default


def check_figure_data(arrays: Mapping[str, np.ndarray], declared: Iterable[Array]) -> None:
    """Compares what a run keeps with what its task declares.

    Raises:
        UserError: An array that is not declared, is of another shape or type, or is missing.
    """
    declared, shared, by_part = tuple(declared), {}, {}
    for name, value in arrays.items():
        array = next((array for array in declared if array.fits(name)), None)
        if array is None:
            raise UserError(f"figure data {name!r} are declared nowhere; add them to the task's")
        sizes = shared
        if "{}" in array:
            (part,) = array.parts_in([name])
            sizes = by_part.setdefault(part, dict(shared))
        if wrong := array.problem(np.asarray(value), sizes):
            raise UserError(f"figure data {name!r} {wrong}; they are: {array.meaning}")
    for array in declared:
        if array.always and not any(map(array.fits, arrays)):
            raise UserError(f"figure data {array!r} ({array.meaning}) are missing")


RESIZED = "resized"  # of heat settings: the scores whose maps were resized over the whole image


def heat_settings(data: Mapping[str, np.ndarray]) -> dict[str, object]:
    """How heat maps were made: method, layer, image_size, and what else their writer says.

    `rows` and `columns` say where cells lie (`dreal_lib.diagnosis.cells`). Runs made before cells
    were placed so lack them; where scores were computed again, `RESIZED` lists those that were not.
    """
    return json.loads(str(data[HEAT_SETTINGS]))


HEAT_SETTINGS = Array("cam/settings", "", TEXT, "how heat maps were made, JSON")

# Class recognition.
RIGHT = Array("right", "N", "bool", "predicted right", always=True)
CLASS_LABELS = Array("labels", "N", "int16", "true class, by number", always=True)
CLASS_TITLES = Array("titles", "K", TEXT, "of the classes")
REWARDS = Array("rewards", "N M", "float16", "bypass reward of Eq. 1")
REWARD_BLOCKS = Array("reward_blocks", "M", TEXT, "names of the bypassed units")
MAP_MEAN = Array("attention/{}/mean", "C | H W", "float32", "mean over images, 0 to 1")
MAP_VARIANCE = Array("attention/{}/variance", "C | H W", "float32", "over images, divided by N")
MAP_BETWEEN = Array(
    "attention/{}/between_class_variance", "C | H W", "float32", "variance of the classes' means"
)
HEAT_MAPS = Array("cam/maps", "N h w", "float16", "heat of the true class, maximum 1 or all zero")
BOXES = Array("cam/boxes", "N 4", "int16", "x_min, y_min, x_max, y_max in pixels; -1 unknown")
BOX_SHARE = Array("cam/box_share", "N", "float16", "share of the image in the object's box")
OBJECT_SHARE = Array("cam/object_share", "N", "float16", "share of the image in its region")
SCORE = Array("localization/{}", "N", "float16", "score of a heat map, NaN where undefined")

# Retrieval. A camera is -1 in a set without; where the gallery has no more: -1, NaN, False.
QUERY_PLACE = Array("queries/place", "V", "int32", "place in the query split", always=True)
QUERY_IDENTITY = Array("queries/identity", "V", "int32", "of the query")
FIRST_RANK = Array("queries/first_rank", "V", "int32", "rank of the first match, from 1", True)
AVERAGE_PRECISION = Array(
    "queries/average_precision", "V", "float32", "by the step sum, 0 to 1", always=True
)
KEPT_PLACE = Array("kept/place", "S", "int32", "place in the query split", always=True)
KEPT_IDENTITY = Array("kept/identity", "S", "int32", "of the query", always=True)
KEPT_CAMERA = Array("kept/camera", "S", "int32", "of the query", always=True)
KEPT_MATCHES = Array("kept/matches", "S", "int32", "number of right images", always=True)
TOP = Array("kept/top", "S R", "int32", "place in the gallery split, nearest first", always=True)
TOP_IDENTITY = Array("kept/top_identity", "S R", "int32", "of the gallery image", always=True)
TOP_CAMERA = Array("kept/top_camera", "S R", "int32", "of the gallery image", always=True)
TOP_SIMILARITY = Array("kept/similarity", "S R", "float32", "to the query", always=True)
TOP_RIGHT = Array("kept/right", "S R", "bool", "of the query's identity", always=True)
QUERY_HEAT = Array("cam/query", "S h w", "float16", "heat for the image ranked first")
TOP_HEAT = Array("cam/top", "S R h w", "float16", "heat for the similarity to the query")
PAIR_QUERY = Array("pairs/query", "P", "int32", "place in the query split")
PAIR_GALLERY = Array("pairs/gallery", "P", "int32", "place of a match in the gallery split")
PAIR_ENERGY = Array("pairs/energy", "P", "float32", "share of the match's heat on its mask")
MASK_SHARE = Array("pairs/mask_share", "P", "float32", "share of the image on the mask")

OF_CLASSIFICATION = (
    RIGHT, CLASS_LABELS, CLASS_TITLES, REWARDS, REWARD_BLOCKS, MAP_MEAN, MAP_VARIANCE, MAP_BETWEEN,
    HEAT_SETTINGS, HEAT_MAPS, BOXES, BOX_SHARE, OBJECT_SHARE, SCORE,
)  # fmt: skip
OF_RETRIEVAL = (
    QUERY_PLACE, QUERY_IDENTITY, FIRST_RANK, AVERAGE_PRECISION, KEPT_PLACE, KEPT_IDENTITY,
    KEPT_CAMERA, KEPT_MATCHES, TOP, TOP_IDENTITY, TOP_CAMERA, TOP_SIMILARITY, TOP_RIGHT,
    HEAT_SETTINGS, QUERY_HEAT, TOP_HEAT, PAIR_QUERY, PAIR_GALLERY, PAIR_ENERGY, MASK_SHARE,
)  # fmt: skip
