"""Shut attention is found by level, entries and variation, run by run."""

import numpy as np
import pytest
from synthetic_records import write_run

from book.companion.attention_maps import shut
from book.companion.results import table_1
from dreal_lib import records
from dreal_lib.runtime.environment import PROJECT_ROOT

RECORDS = PROJECT_ROOT / "book" / "records"


def write(root, method, seed, levels):
    """A run of CBAM-ResNet-50 whose maps have these entries, the same for every image; None: none.

    A map is a level, of which its entries hardly differ, or the list of its entries.
    """
    recipe = f"table_1/cbam_resnet50_{method}"
    record = write_run(root, recipe, seed=seed)
    path = records.record_path(root, "smoke", None, recipe, seed)
    arrays = {}
    for name, entries in (levels or {}).items():
        means = np.array(entries if isinstance(entries, list) else [entries, entries], np.float32)
        arrays[f"attention/{name}/mean"] = means
        arrays[f"attention/{name}/variance"] = 0 * means
        arrays[f"attention/{name}/between_class_variance"] = 0 * means
    file = None
    if levels is not None:
        companion = records.companion_path(path, "figure_data")
        file = records.write_figure_data(companion, arrays)
    files = record.files.model_copy(update={"figure_data": file})
    records.write_record(record.model_copy(update={"files": files}), path)
    return next(run for run in records.find_records(root) if run.path == path)


@pytest.mark.parametrize(
    ("means", "deviation", "acts"),
    [
        ([0.001, 0.003], 0.0005, False),
        ([0.999, 0.997], 0.0005, False),
        ([0.05, 0.05], 0, False),  # on the bound
        ([0.049, 0.051], 0, True),  # an entry above it
        ([0.001, 0.085], 0.001, True),  # of mean 0.043, and one place 85 times another
        ([0.02, 0.025], 0.09, True),  # all low on average, and open for some images
        ([0.02, 0.02], 0.0101, True),
        ([0.01, 0.99], 0, True),
        ([0.5, 0.5], 0, True),  # alike everywhere, and neither shut nor open
    ],
)
def test_a_map_is_shut_by_its_mean_its_entries_and_its_variation(means, deviation, acts):
    """A mean alone called two recorded maps shut of which the sixth row is one."""
    means = np.array(means)
    assert shut.level(means, np.full(2, deviation**2)).acts is acts


def test_maps_are_sorted_by_depth(tmp_path):
    found = {"layer2.0.spatial": 0.049, "layer1.0.spatial": 0.01, "layer1.0.channel": 0.051}
    levels = shut.map_levels(write(tmp_path, "baseline", 0, found))
    assert [name for name, one in levels.items() if not one.acts] == [
        "layer1.0.spatial",
        "layer2.0.spatial",
    ]
    assert shut.map_levels(write(tmp_path, "baseline", 2, None)) == {}


def test_maps_are_counted_by_method_and_named_by_seed(tmp_path):
    write(tmp_path, "baseline", 0, {"layer1.0.spatial": 0.5})
    write(tmp_path, "reinforced", 0, {"layer1.0.spatial": [0, 0.08], "layer1.0.channel": 0.5})
    write(tmp_path, "reinforced", 1, {"layer1.0.spatial": 0.01, "layer3.1.channel": 0.02})
    comparison = table_1.compare_networks(records.find_records(tmp_path), "smoke", None)
    rule, sentence = shut.shut_sentences(comparison.networks)
    assert rule == shut.RULE
    named = "[seed 1: conv2_0 spatial 0.010 ± 0.000, conv4_1 channel 0.020 ± 0.000]"
    vary = "1 of such a mean that vary [seed 0: conv2_0 spatial 0.040 ± 0.040]"
    assert f"0 of 1 baseline, 2 of 4 reinforced {named}, and {vary}" in sentence
    network = next(n for n in comparison.networks if n.network == "cbam_resnet50")
    spatial = shut.shut_text(network, "spatial", listed=False)
    assert spatial.endswith("0 of 1 baseline, 1 of 2 reinforced")


def test_networks_whose_maps_act_are_not_spoken_of(tmp_path):
    write(tmp_path, "baseline", 0, {"layer1.0.spatial": 0.5})
    comparison = table_1.compare_networks(records.find_records(tmp_path), "smoke", None)
    assert shut.shut_sentences(comparison.networks) == []


def test_two_of_the_recorded_maps_of_low_mean_vary():
    """Of CBAM-ResNet-50's five spatial maps of mean below 0.05, three are the same throughout."""
    found = records.find_records(
        RECORDS, profile="desktop", variant="two_cores", recipes=["table_1/cbam_resnet50*"]
    )
    levels = [one for run in found for one in shut.map_levels(run, "spatial").values()]
    low = [one for one in levels if one.beyond]
    assert (len(low), sum(not one.acts for one in low)) == (5, 3)
