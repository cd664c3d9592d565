"""What is committed works anywhere: no path of one machine, no package index, no large file."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
THIRD_PARTY = "book/_vendor/"
LARGEST_BYTES = 3 * 2**20  # the vendored MathJax has 2.2 MiB

# Written so that this file does not hold what it looks for.
FORBIDDEN = {
    "a home or working folder of one machine": r"(?<![\w.])/(?:root|work|home/\w+|Users/\w+)/",
    "a temporary file of one machine": r"/tmp/(?:ipykernel_|tmp|bash_)\w+",
    "a package index": r"https?://[^\s/\"']*(?:pypi|pythonhosted|registry|artifactory|nexus)",
    "an option that names a package index": r"--(?:extra-)?index[-]url|--find[-]links",
}


def project_files() -> list[str]:
    """Files that are tracked, or would be added by `git add .`."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if listing.returncode:
        pytest.skip("not a git checkout")
    return sorted(name for name in listing.stdout.split("\0") if name and (ROOT / name).is_file())


def violations(text: str) -> list[str]:
    """What of `text` is bound to one machine or one package index."""
    return [
        f"{what}: {match[0]}"
        for what, pattern in FORBIDDEN.items()
        for match in re.finditer(pattern, text)
    ]


def test_no_file_is_bound_to_a_machine():
    found = []
    for name in project_files():
        if not name.startswith(THIRD_PARTY):
            text = (ROOT / name).read_bytes().decode("utf-8", errors="ignore")
            found += [f"{name}: {violation}" for violation in violations(text)]
    assert not found, "\n".join(found)


def test_no_file_is_large():
    sizes = {name: (ROOT / name).stat().st_size for name in project_files()}
    assert sizes, "git lists no file"
    assert not {name: size for name, size in sizes.items() if size > LARGEST_BYTES}


@pytest.mark.parametrize(
    "text",
    [
        "open('" + "/ro" + "ot/x.py')",
        '"path": "' + "/ho" + 'me/somebody/dreal/x.ipynb"',
        "read " + "/wo" + "rk/main",
        "at " + "/tmp/" + "ipykernel_17/1.py",
        "https:" + "//py" + "pi.org/simple",
        "https:" + "//regi" + "stry.npmjs.org/mathjax",
        "pip install --extra-" + "index-url X",
    ],
)
def test_the_patterns_find(text: str):
    assert violations(text)


@pytest.mark.parametrize(
    "text", ["build/work/x", "a_network/root/x", "https://arxiv.org/abs/2007.06156", "../root/x"]
)
def test_the_patterns_pass(text: str):
    assert not violations(text)
