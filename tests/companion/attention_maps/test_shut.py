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


def test_a_map_is_shut_or_open_from_the_bounds_on(tmp_path):
    levels = {"layer2.0.spatial": 0.049, "layer1.0.spatial": 0.01, "layer1.0.channel": 0.051}
    found = shut.map_levels(write(tmp_path, "baseline", 0, levels))
    assert list(shut.beyond(found)) == ["layer1.0.spatial", "layer2.0.spatial"]
    assert shut.map_levels(write(tmp_path, "baseline", 2, None)) == {}
    assert shut.beyond({"shut": 0.05, "open": 0.95, "between": 0.94}) == {
        "shut": 0.05,
        "open": 0.95,
    }


def test_maps_are_counted_by_method_and_named_by_seed(tmp_path):
    write(tmp_path, "baseline", 0, {"layer1.0.spatial": 0.5})
    write(tmp_path, "reinforced", 0, {"layer1.0.spatial": 0.5, "layer1.0.channel": 0.5})
    write(tmp_path, "reinforced", 1, {"layer1.0.spatial": 0.01, "layer3.1.channel": 0.02})
    comparison = table_1.compare_networks(records.find_records(tmp_path), "smoke", None)
    (sentence,) = shut.shut_sentences(comparison.networks)
    named = "[seed 1: conv2_0 spatial 0.010, conv4_1 channel 0.020]"
    assert f"0 of 1 baseline, 2 of 4 reinforced {named}" in sentence
    network = next(n for n in comparison.networks if n.network == "cbam_resnet50")
    spatial = shut.shut_text(network, "spatial", listed=False)
    assert spatial.endswith("0 of 1 baseline, 1 of 2 reinforced")


def test_networks_whose_maps_act_are_not_spoken_of(tmp_path):
    write(tmp_path, "baseline", 0, {"layer1.0.spatial": 0.5})
    comparison = table_1.compare_networks(records.find_records(tmp_path), "smoke", None)
    assert shut.shut_sentences(comparison.networks) == []
