"""Shut attention is found by its level, run by run."""

import numpy as np
from synthetic_records import write_run

from book.companion.attention_maps import shut
from book.companion.results import table_1
from dreal_lib import records


def write(root, method, seed, levels):
    """A run of CBAM-ResNet-50 whose maps have these means over entries; None: no figure data."""
    recipe = f"table_1/cbam_resnet50_{method}"
    record = write_run(root, recipe, seed=seed)
    path = records.record_path(root, "smoke", None, recipe, seed)
    arrays = {
        # Entries on both sides of their mean.
        f"attention/{name}/{what}": (level * np.array([0.5, 1.5])).astype(np.float32)
        for name, level in (levels or {}).items()
        for what in ("mean", "variance", "between_class_variance")
    }
    file = None
    if levels is not None:
        companion = records.companion_path(path, "figure_data")
        file = records.write_figure_data(companion, arrays)
    files = record.files.model_copy(update={"figure_data": file})
    records.write_record(record.model_copy(update={"files": files}), path)
    return next(run for run in records.find_records(root) if run.path == path)


def test_a_map_is_shut_up_to_the_bound(tmp_path):
    levels = {"layer2.0.spatial": 0.049, "layer1.0.spatial": 0.01, "layer1.0.channel": 0.051}
    assert shut.shut_maps(write(tmp_path, "baseline", 0, levels)) == [
        "layer1.0.spatial",
        "layer2.0.spatial",
    ]
    assert shut.shut_maps(write(tmp_path, "baseline", 1, {"layer1.0.spatial": 0.96})) == []
    assert shut.shut_maps(write(tmp_path, "baseline", 2, None)) == []


def test_runs_with_a_shut_map_are_counted_seed_by_seed(tmp_path):
    write(tmp_path, "baseline", 0, {"layer1.0.spatial": 0.5})
    write(tmp_path, "reinforced", 0, {"layer1.0.spatial": 0.5, "layer1.0.channel": 0.5})
    write(tmp_path, "reinforced", 1, {"layer1.0.spatial": 0.01, "layer3.1.channel": 0.02})
    comparison = table_1.compare_networks(records.find_records(tmp_path), "smoke", None)
    (sentence,) = shut.shut_sentences(comparison)
    assert sentence.startswith(
        "CBAM-ResNet-50: attention is as good as shut (a map's mean is 0.05 or less) in 1 of 2 "
        "[seed 1: conv2_0 (spatial), conv4_1 (channel)] reinforced runs and in 0 of 1 "
        "baseline runs."
    )


def test_open_networks_are_not_spoken_of(tmp_path):
    write(tmp_path, "baseline", 0, {"layer1.0.spatial": 0.5})
    comparison = table_1.compare_networks(records.find_records(tmp_path), "smoke", None)
    assert shut.shut_sentences(comparison) == []
