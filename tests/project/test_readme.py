"""The README's paragraphs for researchers do what they say."""

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


def block(language: str) -> str:
    return re.search(rf"```{language}\n(.*?)```", README, re.DOTALL)[1]


def test_own_network(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    images, labels = torch.randn(3, 8, 3, 16, 16), torch.randint(10, (3, 8))
    names = {"loader": list(zip(images, labels, strict=True))}
    exec(compile(block("python"), "README.md", "exec"), names)
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
