"""Made-up records for tests: written through the library's own writer, never committed."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd

from dreal_lib import records
from dreal_lib.recipes import load_recipe, recipe_names
from dreal_lib.recipes.classification import CLASSIFICATION

MAPS = ("layer1.0", "layer2.0", "layer2.1", "layer3.0", "layer3.1", "layer4.0")


@dataclass
class Costs:
    """Stands for `complexity.Cost` with numbers that are easy to find again."""

    true_parameters: int = 1_500_000
    paper_parameters: int = 1_400_000
    gmacs: float = 2.5
    reinforced_true_parameters: int = 1_500_100
    reinforced_paper_parameters: int = 1_400_100
    reinforced_gmacs: float = 2.6
    reinforced_paper_gmacs: float = 2.7


def block_curves(maps=MAPS, epochs=4, seed=0) -> pd.DataFrame:
    """Curves with a known shape: the reward follows the accuracy, layer1.0's critic is stuck."""
    generator = np.random.default_rng(seed)
    rows = []
    for epoch in range(1, epochs + 1):
        right = 0.2 + 0.5 * epoch / epochs
        for depth, name in enumerate(maps):
            gain = 0.02 * (depth + 1) + 0.002 * generator.normal()
            reward = right * gain - (1 - right)
            stuck = name.startswith("layer1.0")
            rows.append(
                {
                    "epoch": epoch,
                    "map": name,
                    "images": 100,
                    "critique_mean": 0.0 if stuck else reward + 0.2 / (depth + epoch),
                    "reward_mean": reward,
                    "right_share": right,
                    "reward_right_mean": gain,
                    "critique_rmse": 0.9 if stuck else 0.5 - 0.02 * depth,
                    "correlation": np.nan if stuck else 0.1 * depth,
                    "saturated_share": 1.0 if stuck else 0.0,
                }
            )
    return pd.DataFrame(rows)


def history(columns, epochs: int, *results: dict) -> pd.DataFrame:
    """A history of ones, with these results at their epochs, as reading a record wants it."""
    table = pd.DataFrame(1.0, index=range(1, epochs + 1), columns=columns)
    for result in results:
        for name, value in result.items():
            table.loc[result["epoch"], name] = value
    return table.assign(epoch=table.index)


def agreeing(recipe, profile, stand_in, fields, settings) -> dict:
    """Fields of a record with whole settings and their hash, as reading a record wants them.

    Args:
        recipe, profile: Of the record.
        stand_in: The row whose settings are taken where there is no such recipe.
        fields: Of the record, which its settings repeat.
        settings: What differs from the recipe.
    """
    known = recipe if recipe in recipe_names() else stand_in
    base = load_recipe(known, profile)
    said = {name: fields[name] for name in ("profile", "variant", "network", "method", "overrides")}
    whole = type(base).model_validate(
        base.model_dump(mode="json") | settings | said | {"name": recipe}
    )
    return {"settings": whole.model_dump(mode="json"), "recipe_hash": whole.hash}


def write_run(
    root: Path,
    recipe: str = "table_1/se_resnet50_reinforced",
    *,
    seed: int = 0,
    profile: str = "smoke",
    variant: str | None = None,
    top1=(50.0, 49.0),
    top5=(20.0, 19.0),
    maps=MAPS,
    epochs: int = 4,
    **changes,
) -> records.Record:
    """Write a whole run; `top1` and `top5` are (last, best), `changes` replace record fields."""
    path = records.record_path(root, profile, variant, recipe, seed)
    network, _, method = recipe.split("/")[-1].rpartition("_")
    settings = {
        "depths": {"50": 14, "101": 26}, "width": 16, "image_size": 48, "epochs": epochs,
        "resize": 56,
    } | changes.pop("settings", {})  # fmt: skip
    epochs = settings["epochs"] - (not changes.get("complete", True))  # that were trained
    reinforced = changes.get("method", method) == "reinforced"
    companion = records.companion_path
    results = {
        "last": {"epoch": epochs, "val_loss": 1.5},
        "best": {"epoch": max(epochs - 1, 1), "val_loss": 1.4},
    }
    for place, result in enumerate(results.values()):
        result |= {"top1_error_pct": top1[place], "top5_error_pct": top5[place]}
    results |= {name: changes[name] for name in results if name in changes}
    columns = CLASSIFICATION.history_columns
    files = records.CompanionFiles(
        history=records.write_table(
            companion(path, "history"),
            history(columns, epochs, *results.values()).to_dict("records"),
            columns,
        ),
        blocks=records.write_table(
            companion(path, "blocks"),
            block_curves(maps, epochs, seed).to_dict("records"),
            records.BLOCK_COLUMNS,
        )
        if reinforced
        else None,
        figure_data=records.write_figure_data(
            companion(path, "figure_data"), {"right": np.array([True, False])}
        ),
    )
    fields = {
        "recipe": recipe,
        "profile": profile,
        "variant": variant,
        "overrides": {},
        "network": network,
        "method": method,
        "seed": seed,
        "complete": True,
        "git": {"commit": "c0ffee" * 6 + "c0ff", "clean": True},
        "versions": {"python": "3.11.0", "torch": "2.15.0"},
        "hardware": {
            "device": "cpu",
            "device_name": "Test CPU",
            "cpu_name": "Test CPU",
            "cpu_count": 2,
        },
        "data": {
            "name": "made-up",
            "fingerprint": "f" * 64,
            "train_images": 400,
            "val_images": 100,
            "classes": 10,
        },
        "wall_seconds": 61.5,
        "images_per_second": 26.0,
        "peak_memory_mib": 812.0,
        **results,
        "checkpoint_sha256": "b" * 64,
        "files": files,
        "command": f"dreal train {recipe} --profile {profile} --seed {seed}",
        "created": datetime(2025, 3, 1, 12, 0, tzinfo=UTC),
    }
    fields |= changes
    stand_in = f"table_1/se_resnet50_{fields['method']}"
    fields |= agreeing(recipe, profile, stand_in, fields, settings)
    record = records.record_type("classification").model_validate(fields)
    records.write_record(record, path)
    return record
