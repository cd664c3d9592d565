"""Which runs Snakemake would train, and which rules failed, told by Snakemake itself.

The Snakefile adds this to Snakemake's log, where each job arrives with its rule and its wildcards.
What is printed would have to be parsed, and Snakemake's summary leaves interrupted jobs out.
"""

import json
import logging
import re
from pathlib import Path

from dreal_lib.errors import UserError

# `LogEvent.JOB_INFO` and `JOB_ERROR` of snakemake_interface_logger_plugins
_JOB, _ERROR = "job_info", "job_error"

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_NAMES_AN_ERROR = re.compile(r"^dreal: |\b\w*(?:Error|ERROR|WARNING)\b")


class PlannedRuns(logging.Handler):
    """Writes the runs of rule `train` to a file, a line of JSON each."""

    def __init__(self, path: Path | str):
        super().__init__()
        self.path = Path(path)
        self.path.touch()  # even if there is nothing to train

    def emit(self, record: logging.LogRecord) -> None:
        """Called by `logging` for everything that Snakemake says."""
        if getattr(record, "event", None) != _JOB or record.rule_name != "train":
            return
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps([record.wildcards["row"], int(record.wildcards["seed"])]) + "\n")


class FailedRules(logging.Handler):
    """Writes the rules that failed to a file, each with its log, a line of JSON each."""

    def __init__(self, path: Path | str):
        super().__init__()
        self.path = Path(path)

    def emit(self, record: logging.LogRecord) -> None:
        """Called by `logging` for everything that Snakemake says."""
        if getattr(record, "event", None) != _ERROR:
            return
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps([record.rule_name, [str(log) for log in record.log]]) + "\n")


def failure_lines(path: Path, root: Path) -> list[str]:
    """A line for each rule that failed: the last one of its log that tells the reason.

    Args:
        path: What `FailedRules` wrote; nothing failed if it is not there.
        root: The logs' names are below it.
    """
    if not path.exists():
        return []
    lines = []
    for text in dict.fromkeys(path.read_text(encoding="utf-8").splitlines()):
        rule, logs = json.loads(text)
        for log in logs:
            reason = _reason(root / log)
            lines.append(f"rule {rule} failed: {reason} (all of it: {log})")
    return lines


def _reason(log: Path) -> str:
    """The last line that names an error, else the last that says anything."""
    try:
        text = log.read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    said = [line.strip() for line in _COLOUR.sub("", text).splitlines()]
    said = [line for line in said if any(map(str.isalpha, line))]
    # Sphinx ends with what it has done, and rules of "=".
    named = [line for line in said if _NAMES_AN_ERROR.search(line)]
    return (named or said or ["it said nothing"])[-1]


def read_planned(path: Path | str) -> list[tuple[str, int]]:
    """The runs (recipe and seed) that a dry run with `PlannedRuns` left at `path`.

    Raises:
        UserError: It left nothing, not even that there is nothing to train.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UserError(
            f"the Snakefile did not tell which runs it would make ({error.strerror}); "
            "restore it from the project"
        ) from None
    return list(dict.fromkeys((row, seed) for row, seed in map(json.loads, lines)))
