"""The examples for researchers, in the README and the how-to, do what they say."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from book.companion import commands
from dreal_lib.runtime import environment

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


HOWTO = (ROOT / "book" / "howto.md").read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def block(text: str, containing: str) -> str:
    (found,) = (code for code in blocks(text, "python") if containing in code)
    return found


def test_a_network_of_timm(tmp_path, monkeypatch):
    timm = pytest.importorskip("timm")
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    create = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda *a, **k: create(*a, **k, layers=(1, 1, 1, 1)))
    images, labels = torch.randn(2, 4, 3, 64, 64), torch.randint(10, (2, 4))
    names = {"loader": list(zip(images, labels, strict=True))}
    exec(compile(block(README, "timm"), "README.md", "exec"), names)
    assert list(names["step"].rewards) == [f"layer{stage}.0.se" for stage in (1, 2, 3, 4)]
    saved = torch.load("network.pt", weights_only=True)
    assert saved.keys() == names["network"].state_dict().keys()


def test_labels_that_are_several():
    from foreign_networks import CLASSES, SE, Public

    import dreal_lib

    torch.manual_seed(0)
    images = torch.randn(4, 3, 16, 16)
    names = {"network": Public(SE), "images": images, "dreal_lib": dreal_lib, "torch": torch}
    exec(compile(block(HOWTO, "reward_of"), "howto.md", "exec"), names)
    step = names["agent"](images, torch.randint(2, (4, CLASSES)).float())
    assert step.loss.isfinite()


def test_own_network(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    images, labels = torch.randn(3, 8, 3, 16, 16), torch.randint(10, (3, 8))
    names = {"loader": list(zip(images, labels, strict=True))}
    exec(compile(block(HOWTO, "class Gate"), "howto.md", "exec"), names)
    step, agent = names["step"], names["agent"]
    assert set(step.critiques) == {"stage1.0", "stage1.1", "stage2.0", "stage2.1"}
    assert {name.split(".")[0] for name in step.rewards} == {"stage1", "stage2"}
    saved = torch.load("network.pt", weights_only=True)
    assert saved.keys() == names["network"].state_dict().keys()
    assert agent.actor is names["network"]


def test_own_images(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(environment, "PROJECT_ROOT", tmp_path)  # whose build/ is not the checkout's
    generator = np.random.default_rng(0)
    for split, count in (("train", 8), ("val", 3)):
        for label in ("cats", "dogs"):
            folder = tmp_path / "images" / split / label
            folder.mkdir(parents=True)
            for index in range(count):
                pixels = generator.integers(0, 255, (40, 52, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{index}.jpg")
    trained = re.findall(r"\$ dreal (train table_1/\S+) --data PATH", README)
    assert len(trained) == 2
    for command in trained:
        quick = ["--set", "epochs=1", "--set", "batch_size=8", "--set", "image_size=32"]
        words = [*command.split(), "--data", str(tmp_path / "images"), *quick]
        monkeypatch.setattr(sys, "argv", ["dreal", *words])
        with pytest.raises(SystemExit) as stopped:
            commands.main()
        assert not stopped.value.code
        said = capsys.readouterr().out
        assert (tmp_path / re.search(r"record: (.*)", said)[1]).is_file()
        weights = re.search(r"weights: (.*)", said)[1]
        image = next((tmp_path / "images" / "val" / "cats").iterdir())
        monkeypatch.setattr(sys, "argv", ["dreal", "predict", weights, str(image)])
        with pytest.raises(SystemExit) as stopped:
            commands.main()
        assert not stopped.value.code
        assert capsys.readouterr().out.split()[-1] in ("cats", "dogs")
