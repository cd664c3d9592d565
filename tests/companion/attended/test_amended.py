"""Figure data of older runs: scores made again from the cells, only where the old ones come out."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from synthetic_records import write_run
from synthetic_retrieval import figure_arrays, write_retrieval

from book.companion.attended import amended
from dreal_lib import records
from dreal_lib.data.identities import open_identity_set
from dreal_lib.diagnosis.map_scores import area, energy, pointing
from dreal_lib.errors import UserError
from dreal_lib.runtime.environment import PROJECT_ROOT
from dreal_lib.tasks.retrieval import identity_facts

RECORDS = PROJECT_ROOT / "book" / "records"

HOW = {"layer": "layer4[-1]", "method": "gradcam", "threshold": 0.5, "steps": 2, "image_size": 48}
MAPS = np.random.default_rng(0).random((5, 3, 3)).astype(np.float16)


def resized_area(maps):
    large = F.interpolate(torch.from_numpy(maps)[:, None].float(), (48, 48), mode="bilinear")[:, 0]
    return area(large).numpy().astype(np.float16)


@pytest.fixture
def older(tmp_path):
    """Function from the stored area of five maps to a run that knows nothing of places."""

    def make(stored):
        settings = {"depths": {"50": 14}, "stem": "tiny"}
        record = write_run(tmp_path, "table_1/se_resnet50_baseline", settings=settings)
        (run,) = records.find_records(tmp_path)
        made = {
            "labels": np.arange(5, dtype=np.int16),
            "right": np.ones(5, dtype=bool),
            "cam/maps": MAPS,
            "cam/settings": np.array(json.dumps(HOW)),
            "localization/area": stored,
            "localization/deletion": np.linspace(0, 1, 5).astype(np.float16),
        }
        path = records.companion_path(run.path, "figure_data")
        files = record.files.model_copy(
            update={"figure_data": records.write_figure_data(path, made)}
        )
        records.write_record(record.model_copy(update={"files": files}), run.path)
        return records.find_records(tmp_path)[0]

    return make


def test_scores_follow_the_cells_and_what_needs_the_network_is_named(older, tmp_path):
    run = older(resized_area(MAPS))
    before = run.path.read_text()
    assert amended.amend(run, [])
    (again,) = records.find_records(tmp_path)
    found = again.figure_data()
    how = json.loads(str(found["cam/settings"]))
    assert (how["rows"], how["columns"], how["resized"]) == ([0, 16, 32], [0, 16, 32], ["deletion"])
    lines = [np.interp(range(48), (0, 16, 32), row) for one in MAPS for row in one.astype(float)]
    large = np.stack(lines).reshape(5, 3, 48)
    large = np.apply_along_axis(lambda column: np.interp(range(48), (0, 16, 32), column), 1, large)
    assert np.allclose(found["localization/area"], area(torch.from_numpy(large)), atol=2e-3)
    assert np.array_equal(found["localization/deletion"], np.linspace(0, 1, 5, dtype=np.float16))
    changed = {*before.splitlines()} ^ {*run.path.read_text().splitlines()}
    assert len(changed) == 2
    assert all("sha256" in line for line in changed)
    assert not amended.amend(again, [])


def test_nothing_is_written_where_the_old_scores_do_not_come_out(older):
    run = older((resized_area(MAPS) + np.float16(0.05)).astype(np.float16))
    with pytest.raises(UserError, match=r"area of .* does not come out as it stands"):
        amended.amend(run, [])
    assert run.figure_data()["cam/settings"] == json.dumps(HOW)


def test_queries_get_their_identities_from_the_set_alone(tmp_path):
    root = tmp_path / "set"
    root.mkdir()
    rows = ["file,identity,camera,split"]
    for number in range(18):
        split = ("train", "query", "gallery")[min(number // 2, 1) + (number > 9)]
        rows.append(f"{number}.png,{'t' if split == 'train' else 'i'}{number % 3},,{split}")
        (root / f"{number}.png").write_bytes(b"x")
    (root / "index.csv").write_text("\n".join(rows) + "\n")
    arrays = figure_arrays()
    del arrays["queries/identity"]
    arrays["cam/settings"] = np.array('{"image_size": [16, 8], "rows": [0], "columns": [0]}')
    images = open_identity_set(root)
    write_retrieval(tmp_path / "r", "attention", arrays=arrays)
    (run,) = records.find_records(tmp_path / "r")
    with pytest.raises(UserError, match="no folder given holds the set made-up"):
        amended.amend(run, [root])
    facts = identity_facts(images).model_dump()
    write_retrieval(tmp_path / "s", "attention", arrays=arrays, data=facts)
    (run,) = records.find_records(tmp_path / "s")
    assert amended.amend(run, [root])
    found = records.find_records(tmp_path / "s")[0].figure_data()
    assert np.array_equal(found["queries/identity"], images.query.identities)


def test_recorded_scores_are_those_of_their_cells():
    """Pointing and energy of the committed smoke runs, from cells and boxes, but for corners."""
    for run in records.find_records(RECORDS, profile="smoke", recipes=["table_1/*"]):
        found = run.figure_data()
        maps = found["cam/maps"].astype(np.float32)
        weights = np.stack([np.interp(range(48), (0, 16, 32), unit) for unit in np.eye(3)], axis=1)
        large = torch.from_numpy(np.einsum("rh,nhw,cw->nrc", weights, maps, weights))
        inside = torch.zeros(large.shape, dtype=torch.bool)
        for one, (left, top, right, bottom) in zip(inside, found["cam/boxes"], strict=True):
            one[top:bottom, left:right] = True
        for name, score in (("pointing", pointing), ("energy", energy)):
            stated = found[f"localization/{name}"].astype(np.float32)
            again = score(large, inside).numpy()
            assert np.nanmean(stated) == pytest.approx(np.nanmean(again), abs=5e-3)
