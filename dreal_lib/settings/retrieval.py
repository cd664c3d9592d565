"""What the paper's second task leaves open (section 4.2), as named settings; defaults first.

The defaults are the common ground of the peers' public code (BoT, "strong baseline", and
torchreid); where a peer differs, its way is the other choice.
"""

from dataclasses import asdict, dataclass
from typing import Literal

from dreal_lib.errors import UserError
from dreal_lib.settings.dreal import refuse_unknown_choices

# Settings that recipes of before do not name, with what was done then. Not written where they are
# that, they leave the hash and the recorded settings of those runs what they were.
BEFORE = {"crop_fill": "mean", "erasing_fill": "mean"}


@dataclass(frozen=True)
class RetrievalSettings:
    """How an embedding is trained and compared.

    Attributes:
        margin: Of the triplet loss; the paper's is 0.5.
        smoothing: Share of the label spread over the classes; the paper's is 0.1.
        smoothing_over: It is spread over all classes, the true one included, or over the others.
        triplet_feature: The triplet loss sees the feature before the BN neck, or after it.
        triplet_distance: Euclidean, of features as they are, or between features of length 1.
        inference_feature: What is compared at test: the feature after the BN neck, or before it.
        metric: Distance at test; the paper's is cosine.
        neck_bias: The BN neck's bias stays 0, or is learned.
        classifier_bias: The identity classifier has no bias, or has one.
        crop: Training images are resized, padded by `crop_padding` pixels and cut (BoT), or with
            probability 1/2 resized to 9/8 of the size and cut (torchreid, RGA).
        crop_padding: Pixels on each side.
        crop_fill: Padding is black (peers pad before they normalise), or the mean colour.
        flip_probability: Of a mirrored training image; the paper's is 0.5.
        erasing_probability, erasing_smallest_area, erasing_largest_area, erasing_aspect: Random
            erasing: how often, shares of the image's area, least aspect ratio (its inverse is the
            largest).
        erasing_fill: Erased pixels, which are normalised by then, become the numbers of ImageNet's
            mean, 0.485, 0.456 and 0.406 (BoT, torchreid): a colour lighter than the mean; or 0, the
            mean colour itself (RGA).
        draw: An epoch draws each identity as often as it has K images left (exhaustive; BoT,
            torchreid: at most 12,936 / 128 = 101 steps on Market-1501; fewer, as last images that
            do not make K are left out), or once (RGA: 46 steps there).
        mirrored: At test the feature is the mean over the image and its mirror (the paper's), or of
            the image alone.

    Raises:
        UserError: A value that is no choice of its setting, or a number that cannot be.
    """

    margin: float = 0.5
    smoothing: float = 0.1
    smoothing_over: Literal["all", "others"] = "all"
    triplet_feature: Literal["before_neck", "after_neck"] = "before_neck"
    triplet_distance: Literal["euclidean", "normalised"] = "euclidean"
    inference_feature: Literal["after_neck", "before_neck"] = "after_neck"
    metric: Literal["cosine", "euclidean"] = "cosine"
    neck_bias: Literal["frozen", "learned"] = "frozen"
    classifier_bias: Literal["off", "on"] = "off"
    crop: Literal["pad", "enlarge"] = "pad"
    crop_padding: int = 10
    crop_fill: Literal["black", "mean"] = "black"
    flip_probability: float = 0.5
    erasing_probability: float = 0.5
    erasing_smallest_area: float = 0.02
    erasing_largest_area: float = 0.4
    erasing_aspect: float = 0.3
    erasing_fill: Literal["mean_as_number", "mean"] = "mean_as_number"
    draw: Literal["exhaustive", "once"] = "exhaustive"
    mirrored: Literal["mean", "off"] = "mean"

    def __post_init__(self):
        refuse_unknown_choices(self)
        for name in ("smoothing", "flip_probability", "erasing_probability"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"{name} must lie from 0 to 1; got {getattr(self, name)}")
        if not 0 <= self.margin < float("inf"):
            raise UserError(f"margin must be at least 0 and finite; got {self.margin}; try 0.5")
        if not 0 < self.erasing_smallest_area <= self.erasing_largest_area < 1:
            raise UserError(
                f"erased areas must be shares of the image, the smallest first; got "
                f"{self.erasing_smallest_area} and {self.erasing_largest_area}; try 0.02 and 0.4"
            )
        if not 0 < self.erasing_aspect <= 1:
            raise UserError(f"erasing_aspect must be above 0, to 1; got {self.erasing_aspect}")
        if type(self.crop_padding) is not int or self.crop_padding < 0:
            raise UserError(f"crop_padding is a whole number of pixels; got {self.crop_padding!r}")

    def as_dict(self) -> dict[str, object]:
        return asdict(self)

    def recorded(self) -> dict[str, object]:
        """As a recipe writes them: without those of `BEFORE` that are as they were before."""
        unchanged = [name for name, value in BEFORE.items() if getattr(self, name) == value]
        return {name: value for name, value in asdict(self).items() if name not in unchanged}
