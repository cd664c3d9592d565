"""Made-up retrieval runs for tests: written through the library's own writer, never committed."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from synthetic_records import agreeing, history

from book.companion.results.retrieval_rows import recipe_of
from dreal_lib import records
from dreal_lib.recipes.retrieval import RETRIEVAL

QUERIES, KEPT, FIRST, MAP = 8, 6, 10, (4, 2)
DATA = {
    "name": "made-up", "fingerprint": "ab" * 32, "train_images": 40, "train_identities": 10,
    "query_images": 8, "gallery_images": 30, "cameras": 4,
}  # fmt: skip


def figure_arrays(seed=0, rank1=(True,) * KEPT, energy=(0.5,) * QUERIES):
    """What `retrieved.figure_arrays` writes, with a chosen first image and energy."""
    noise = np.random.default_rng(seed)
    right = noise.random((KEPT, FIRST)) < 0.3
    right[:, 0] = rank1
    return {
        "queries/place": np.arange(QUERIES, dtype=np.int32),
        "queries/identity": np.arange(QUERIES, dtype=np.int32) // 2,
        "queries/first_rank": np.arange(1, QUERIES + 1, dtype=np.int32),
        "queries/average_precision": np.linspace(0.1, 0.8, QUERIES, dtype=np.float32),
        "kept/place": np.arange(KEPT, dtype=np.int32)[::-1],
        "kept/identity": np.arange(KEPT, dtype=np.int32),
        "kept/camera": np.zeros(KEPT, dtype=np.int32),
        "kept/matches": np.full(KEPT, 3, dtype=np.int32),
        "kept/top": np.tile(np.arange(FIRST, dtype=np.int32), (KEPT, 1)),
        "kept/top_identity": np.zeros((KEPT, FIRST), dtype=np.int32),
        "kept/top_camera": np.ones((KEPT, FIRST), dtype=np.int32),
        "kept/similarity": np.tile(np.linspace(1, 0.1, FIRST, dtype=np.float32), (KEPT, 1)),
        "kept/right": right,
        "cam/query": np.ones((KEPT, *MAP), dtype=np.float16),
        "cam/top": noise.random((KEPT, FIRST, *MAP)).astype(np.float16),
        "cam/settings": np.array('{"image_size": [16, 8]}'),
        "pairs/query": np.arange(QUERIES, dtype=np.int32),
        "pairs/gallery": np.arange(QUERIES, dtype=np.int32),
        "pairs/energy": np.array(energy, dtype=np.float32),
        "pairs/mask_share": np.full(QUERIES, 0.25, dtype=np.float32),
    }


def scores(rank1, mean_ap, epoch):
    return {
        "epoch": epoch, "rank1_pct": rank1, "rank5_pct": rank1, "rank10_pct": rank1,
        "map_step_pct": mean_ap, "map_trapezoid_pct": mean_ap - 1, "minp_pct": mean_ap / 2,
    }  # fmt: skip


def write_retrieval(
    root: Path,
    method: str,
    *,
    seed: int = 0,
    profile: str = "smoke",
    variant: str | None = None,
    rank1: float = 50.0,
    mean_ap: float = 40.0,
    arrays: dict | None = None,
    settings: dict | None = None,
    **changes,
) -> records.Record:
    """Write a whole run; the best epoch is a point better than the last."""
    recipe = recipe_of(method)
    path = records.record_path(root, profile, variant, recipe, seed)
    settings = {"depths": {"50": 14}, "width": 16, "image_size": [16, 8], "epochs": 4} | (
        settings or {}
    )
    epochs = settings["epochs"]
    results = {
        "last": scores(rank1, mean_ap, epochs),
        "best": scores(rank1 + 1, mean_ap + 1, epochs - 1),
    }
    results |= {name: changes[name] for name in results if name in changes}
    columns = RETRIEVAL.history_columns
    network = "resnet50" if method == "baseline" else "cbam_resnet50"
    files = records.CompanionFiles(
        history=records.write_table(
            records.companion_path(path, "history"),
            history(columns, epochs, *results.values()).to_dict("records"),
            columns,
        ),
        figure_data=records.write_figure_data(
            records.companion_path(path, "figure_data"), arrays or figure_arrays()
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
        "versions": {"python": "3.11.0"},
        "hardware": {
            "device": "cpu", "device_name": "Test CPU", "cpu_name": "Test CPU", "cpu_count": 2,
        },
        "data": DATA,
        "wall_seconds": 61.5,
        "images_per_second": 26.0,
        "peak_memory_mib": 812.0,
        **results,
        "checkpoint_sha256": "b" * 64,
        "files": files,
        "command": f"dreal train {recipe} --profile {profile} --seed {seed}",
        "created": datetime(2025, 3, 1, 12, 0, tzinfo=UTC),
    }  # fmt: skip
    fields |= changes
    fields |= agreeing(recipe, profile, recipe, fields, settings)
    record = records.record_type("retrieval").model_validate(fields)
    records.write_record(record, path)
    return record
