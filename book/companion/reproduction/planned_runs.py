"""Which runs Snakemake would train, told by Snakemake itself as it plans.

The Snakefile adds this to Snakemake's log, where each job arrives with its rule and its wildcards.
What is printed would have to be parsed, and Snakemake's summary leaves interrupted jobs out.
"""

import json
import logging
from pathlib import Path

from dreal_lib.errors import UserError

_JOB = "job_info"  # `LogEvent.JOB_INFO` of snakemake_interface_logger_plugins


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
