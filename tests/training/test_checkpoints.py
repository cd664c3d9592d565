"""Checkpoints: what is read is what was written, or nothing is."""

import errno
import hashlib
import json
import math
import os
import pickle

import pytest
import safetensors.torch
import torch

from dreal_lib.errors import UserError
from dreal_lib.networks.backbones import create_model
from dreal_lib.training import checkpoints, run_folder
from dreal_lib.training.checkpoints import load_checkpoint, load_weights, save_checkpoint

FACTS = {"epoch": 3, "history": [{"loss": 0.1 + 0.2, "nothing": None}], "name": "ü"}


def tensors() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "b.weight": torch.randn(3, 4, generator=generator),
        "a.half": torch.randn(5, generator=generator).bfloat16(),
        "counter": torch.tensor(7),
        "sums": torch.randn(2, dtype=torch.float64, generator=generator),
        "empty": torch.zeros(0, 3),
    }


@pytest.fixture
def path(tmp_path):
    save_checkpoint(tmp_path / "run" / "checkpoint.safetensors", tensors(), FACTS)
    return tmp_path / "run" / "checkpoint.safetensors"


def refusal(path) -> str:
    with pytest.raises(UserError) as caught:
        load_checkpoint(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_tensors_and_facts_round_trip(path):
    found, facts = load_checkpoint(path)
    assert facts == FACTS
    assert found.keys() == tensors().keys()
    for name, tensor in tensors().items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)


def test_strided_and_trained_tensors_are_saved_by_value(path):
    base = torch.arange(24.0).reshape(1, 2, 3, 4)
    given = {
        "last": base.to(memory_format=torch.channels_last),
        "part": base[..., 1],
        "trained": torch.nn.Parameter(base.clone()),
    }
    save_checkpoint(path, given, {})
    found, _ = load_checkpoint(path)
    for name, tensor in given.items():
        assert torch.equal(found[name], tensor)


def test_not_a_number_survives(path):
    save_checkpoint(path, {"x": torch.tensor(float("nan"))}, {"correlation": float("nan")})
    found, facts = load_checkpoint(path)
    assert torch.isnan(found["x"])
    assert facts["correlation"] != facts["correlation"]


def test_the_hash_is_of_the_file(path):
    returned = save_checkpoint(path, tensors(), FACTS)
    assert returned == hashlib.sha256(path.read_bytes()).hexdigest()
    for _ in range(8):  # safetensors orders metadata at random
        assert save_checkpoint(path, tensors(), FACTS) == returned


def test_a_missing_file_is_named(tmp_path):
    assert "no checkpoint" in refusal(tmp_path / "none.safetensors")


@pytest.mark.parametrize("keep", [0, 1, 7, 8, 100, 0.5, 0.9, -1])
def test_a_truncated_file_is_refused(path, keep):
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content)) if isinstance(keep, float) else keep])
    assert "damaged" in refusal(path)


def test_a_flipped_byte_anywhere_is_refused(path):
    content = path.read_bytes()
    for position in range(0, len(content), 3):
        altered = bytearray(content)
        altered[position] ^= 0x01
        path.write_bytes(altered)
        with pytest.raises(UserError):
            load_checkpoint(path)


def test_altered_weights_are_refused_as_altered(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 0x80
    path.write_bytes(content)
    assert "was altered" in refusal(path)


def test_altered_facts_are_refused(path):
    content = path.read_bytes()
    assert content.count(b'epoch\\": 3') == 1
    path.write_bytes(content.replace(b'epoch\\": 3', b'epoch\\": 9'))
    assert "was altered" in refusal(path)


def test_a_foreign_safetensors_file_is_refused(path):
    path.write_bytes(safetensors.torch.save(tensors()))
    assert "no checkpoint of this library" in refusal(path)
    path.write_bytes(safetensors.torch.save(tensors(), metadata={"facts": "{}"}))
    assert "was altered" in refusal(path)


class Exploit:
    """Runs code when unpickled."""

    def __reduce__(self):
        return os.mkdir, ("unpickled",)


@pytest.mark.parametrize("write", ["pickle", "torch"])
def test_nothing_is_unpickled(path, monkeypatch, write):
    monkeypatch.chdir(path.parent)
    if write == "pickle":
        path.write_bytes(pickle.dumps(Exploit()))
    else:
        torch.save({"x": Exploit()}, path)
    assert "damaged" in refusal(path)
    assert not (path.parent / "unpickled").exists()


def full_disk(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(path, monkeypatch, call):
    before = path.read_bytes()
    monkeypatch.setattr(os, call, full_disk)
    with pytest.raises(UserError, match=r"No space left on device.*free some space") as caught:
        save_checkpoint(path, {"x": torch.zeros(1)}, {})
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]
    assert load_checkpoint(path)[1] == FACTS


def test_a_process_that_stops_while_writing_leaves_the_old_file(path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", stop)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(path, {"x": torch.zeros(1)}, {})
    assert list(path.parent.iterdir()) == [path]
    assert load_checkpoint(path)[1] == FACTS


def network(name="se_resnet14", classes=3, width=4, seed=0):
    torch.manual_seed(seed)
    return create_model(name, classes, width=width, stem="cifar")


def test_weights_come_back_into_a_network(path):
    source, target = network(seed=0), network(seed=1)
    save_checkpoint(path, source.state_dict(), {})
    load_weights(target, load_checkpoint(path)[0], path)
    for name, tensor in source.state_dict().items():
        assert torch.equal(target.state_dict()[name], tensor)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        # In sorted order the first difference: CBAM's MLP against SE's, blocks of another depth.
        ({"name": "cbam_resnet14"}, r"(lacks|has an unknown) 'layer1\.0\.attention\."),
        ({"name": "resnet14"}, r"lacks 'layer1\.0\.attention\."),
        ({"name": "se_resnet26"}, r"has an unknown 'layer1\.1\.attention\."),
        ({"classes": 4}, r"'fc\.weight' of shape \(4, 128\), the network wants \(3, 128\)"),
        ({"width": 8}, r"'conv1\.weight' of shape \(8, 3, 3, 3\).* wants \(4, 3, 3, 3\)"),
    ],
)
def test_another_architecture_is_refused_by_its_first_difference(path, other, said):
    target = network()
    before = {name: tensor.clone() for name, tensor in target.state_dict().items()}
    with pytest.raises(UserError, match=said) as caught:
        load_weights(target, network(**other).state_dict(), path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
    assert all(torch.equal(tensor, before[name]) for name, tensor in target.state_dict().items())


def test_the_facts_are_readable_without_the_library(path):
    size = int.from_bytes(path.read_bytes()[:8], "little")
    header = json.loads(path.read_bytes()[8 : 8 + size])
    assert json.loads(header["__metadata__"]["facts"]) == FACTS


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.EACCES])
def test_a_folder_that_cannot_be_synced_is_no_error(tmp_path, monkeypatch, number):
    sync = os.fsync

    def fsync(descriptor):
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            raise OSError(number, os.strerror(number))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    run_folder.save_last(tmp_path, {"a": torch.ones(2)}, {"epoch": 1})
    tensors, facts = run_folder.load_last(tmp_path)
    assert (tensors["a"].tolist(), facts) == ([1, 1], {"epoch": 1})


@pytest.mark.parametrize(
    "spoil",
    [lambda w: w.fill_(math.nan), lambda w: w.fill_(-math.inf), lambda w: (9 * w).to(torch.int32)],
    ids=["NaN", "infinite", "whole numbers"],
)
def test_weights_that_are_no_weights_are_refused(path, spoil):
    target, tensors = network(), network(seed=1).state_dict()
    before = target.fc.weight.clone()
    tensors["fc.weight"] = spoil(tensors["fc.weight"].clone())
    with pytest.raises(UserError, match=r"'fc\.weight'"):
        load_weights(target, tensors, path)
    assert torch.equal(target.fc.weight, before)


@pytest.mark.parametrize("facts", ["[]", "3", "{", "[" * 100_000])
def test_facts_that_are_none_are_refused(path, facts):
    tensors = {"x": torch.zeros(1)}
    header = {"facts": facts, "content_sha256": checkpoints._content_hash(tensors, facts)}
    path.write_bytes(safetensors.torch.save(tensors, metadata=header))
    assert "no facts" in refusal(path)


def test_a_folder_is_not_called_damaged(tmp_path):
    assert "is a folder" in refusal(tmp_path)
