"""The Slurm profile: what it names exists, and what it makes Snakemake submit, with a stub."""

import importlib.util
import os
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "profiles" / "slurm"
PROFILE = yaml.safe_load((FOLDER / "config.yaml").read_text(encoding="utf-8"))
PLUGIN = "snakemake_executor_plugin_slurm"

# One rule of the real workflow's name, and nothing to do.
WORKFLOW = """
rule train:
    output: "record.json"
    threads: 1
    shell: "touch {output}"
"""
# Keeps what it was asked for, and takes no job, so that Snakemake does not wait for one.
SBATCH = """#!/bin/sh
printf '%s\\n' "$@" > "$SUBMITTED"
echo "sbatch: error: no such cluster" >&2
exit 1
"""


def test_every_key_is_an_option_of_snakemake():
    cli = pytest.importorskip("snakemake.cli")
    options = cli.get_argument_parser()._option_string_actions
    assert not {key for key in PROFILE if f"--{key}" not in options}


def test_every_rule_is_one_of_the_snakefile():
    rules = set(re.findall(r"^rule (\w+):", (ROOT / "Snakefile").read_text(), re.M))
    assert "train" in rules
    assert set(PROFILE["set-threads"]) | set(PROFILE["set-resources"]) <= rules


def test_the_pages_name_the_profile():
    text = (ROOT / "book" / "reproduce.md").read_text(encoding="utf-8")
    named = re.findall(r"snakemake --profile (\S+)", text)
    assert named
    assert {ROOT / path for path in named} == {FOLDER}


@pytest.mark.skipif(
    importlib.util.find_spec(PLUGIN) is None, reason="snakemake-executor-plugin-slurm is absent"
)
def test_a_run_is_submitted_with_its_gpu_cores_memory_and_time(tmp_path: Path):
    (tmp_path / "Snakefile").write_text(WORKFLOW)
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("sbatch", "squeue", "sacct", "sinfo", "scontrol", "sacctmgr", "sshare"):
        # The others say which accounts there are.
        (programs / name).write_text(SBATCH if name == "sbatch" else "#!/bin/sh\necho us\n")
        (programs / name).chmod(0o755)
    submitted = tmp_path / "submitted"
    environment = {**os.environ, "SUBMITTED": str(submitted)}
    environment["PATH"] = f"{programs}{os.pathsep}{environment['PATH']}"
    command = [sys.executable, "-m", "snakemake", "--profile", str(FOLDER), "--retries", "0"]
    command += ["--snakefile", str(tmp_path / "Snakefile"), "--directory", str(tmp_path)]
    command += ["--slurm-init-seconds-before-status-checks", "1"]
    command += ["--default-resources", "slurm_partition=long", "slurm_account=us"]
    ended = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert ended.returncode != 0
    assert "no such cluster" in ended.stdout + ended.stderr
    words = submitted.read_text().splitlines()
    asked = dict(pairwise(words))
    assert asked["-t"] == str(PROFILE["set-resources"]["train"]["runtime"])
    assert asked["--mem"] == str(PROFILE["set-resources"]["train"]["mem_mb"])
    assert asked["-D"] == str(tmp_path)
    assert (asked["-p"].strip("'"), asked["-A"].strip("'")) == ("long", "us")
    assert f"--cpus-per-task={PROFILE['set-threads']['train']}" in words
    assert "--gres=gpu:1" in words
    (wrapped,) = (word for word in words if word.startswith("--wrap="))
    assert "--target-jobs 'train:'" in wrapped
