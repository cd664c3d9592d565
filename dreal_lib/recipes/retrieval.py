"""Instance recognition (section 4.2) as data; `dreal_lib.tasks.retrieval` is its code."""

from typing import Annotated, Any, ClassVar

from pydantic import Field, field_serializer, field_validator

from dreal_lib.recipes.schema import Positive, Recipe, Side
from dreal_lib.recipes.task_facts import DataFacts, Metric, TaskFacts, declare
from dreal_lib.settings.dreal import Settings
from dreal_lib.settings.retrieval import BEFORE, RetrievalSettings

Beta = Annotated[float, Field(ge=0, lt=1)]


class RetrievalRecipe(Recipe):
    """Section 4.2: instance recognition by retrieval.

    Attributes:
        image_size: (H, W) to which images are resized, pixels.
        pretrained: Start from torchvision's ImageNet weights.
        identities_per_batch, images_per_identity: P and K of the PK sampler.
        betas: Of AMSGrad.
        evaluate_every: Epochs between two evaluations; the last epoch is always evaluated.
        retrieval: The open points of the task, `RetrievalSettings`.
    """

    task: ClassVar[str] = "retrieval"
    nested: ClassVar[dict[str, type]] = {"dreal": Settings, "retrieval": RetrievalSettings}
    batch_key: ClassVar[str] = "identities_per_batch"

    image_size: tuple[Side, Side]
    pretrained: bool
    identities_per_batch: int = Field(ge=2)
    images_per_identity: int = Field(ge=2)
    betas: tuple[Beta, Beta]
    evaluate_every: Positive
    retrieval: RetrievalSettings = RetrievalSettings()

    @field_validator("retrieval", mode="before")
    @classmethod
    def _as_before(cls, value: Any) -> Any:
        """Every profile names `BEFORE`'s settings, so what does not was recorded without them."""
        return {**BEFORE, **value} if isinstance(value, dict) else value

    @field_serializer("retrieval")
    def _write_retrieval(self, value: RetrievalSettings) -> dict[str, Any]:
        return value.recorded()

    @property
    def size(self) -> tuple[int, int]:
        return self.image_size

    @property
    def images_per_step(self) -> int:
        """P x K."""
        return self.identities_per_batch * self.images_per_identity

    @property
    def optimizer(self) -> tuple[str, dict[str, Any]]:
        return "Adam", {"betas": self.betas, "amsgrad": True}

    def without_initial_weights(self) -> "RetrievalRecipe":
        return self.model_copy(update={"pretrained": False})


class IdentityFacts(DataFacts):
    """The identities a run was trained on and the ones it was judged on; junk is not counted."""

    train_identities: int = Field(ge=1)
    query_images: int = Field(ge=0)
    gallery_images: int = Field(ge=0)
    cameras: int = Field(ge=0)

    @property
    def text(self) -> str:
        seen = f"{self.cameras} cameras" if self.cameras else "no cameras"
        return (
            f"{self.train_identities:,} training identities, {seen}, {self.train_images:,} "
            f"training, {self.query_images:,} query and {self.gallery_images:,} gallery images"
        )


RETRIEVAL = declare(
    TaskFacts(
        recipe=RetrievalRecipe,
        # The mean average precision has two definitions in use (protocol of Market-1501).
        metrics=(
            Metric("rank1_pct", "Rank-1", better="higher", shown=True),
            Metric("rank5_pct", "Rank-5", better="higher"),
            Metric("rank10_pct", "Rank-10", better="higher"),
            Metric("map_step_pct", "mAP (step sum)", better="higher", shown=True),
            Metric("map_trapezoid_pct", "mAP (trapezoid)", better="higher"),
            Metric("minp_pct", "mINP", better="higher"),
        ),
        best="map_step_pct",
        data=IdentityFacts,
        parts=("identity_loss", "triplet_loss"),
        rendered="embedded-figures",
        found_in=("index.csv", "query"),
        pair=("table_2/resnet50_attention", "table_2/resnet50_reinforced"),
    )
)
