"""How far apart runs of one seed end with different numbers of threads, from their records.

    dreal train ROW --seed S --threads 1 --records build/records-1 --data DATA ...
    dreal train ROW --seed S --threads 2 --records build/records-2 --data DATA ...
    python tests/benchmarks/threads.py build/records-1 build/records-2 book/benchmarks/threads.json

Every row, scale and seed that both folders hold is a pair, if data and recipe are the same;
differences are second less first. `book/records` may be one of the two: its older records do not
say how many threads they used (null).
"""

import json
import sys
from pathlib import Path

from dreal_lib.recipes import task_facts
from dreal_lib.records import Record, find_records


def changes(first: Record, second: Record) -> dict[str, float]:
    """Differences in what a run prints, by metric."""
    names = [metric.name for metric in task_facts(first.task).metrics if metric.shown]
    return {name: round(second.metric(name) - first.metric(name), 6) for name in names}


def measured(one: Path, two: Path) -> dict:
    """What is committed: the pairs, and what they were made with."""
    before, after = ({run.record.key: run.record for run in find_records(p)} for p in (one, two))
    found = [
        (before[key], after[key])
        for key in sorted(before.keys() & after.keys(), key=str)
        if before[key].recipe_hash == after[key].recipe_hash
        and before[key].data.fingerprint == after[key].data.fingerprint
    ]
    if not found:
        raise SystemExit(f"no run is in both {one} and {two}")
    return {
        "pairs": [
            {
                "recipe": first.recipe,
                "scale": first.scale,
                "seed": first.seed,
                "threads": [first.threads, second.threads],
                "cpus": [record.hardware.cpu_name for record in (first, second)],
                "torch": [record.versions["torch"] for record in (first, second)],
                "commits": [record.git.commit for record in (first, second)],
                "scores": [
                    {name: record.metric(name) for name in changes(first, second)}
                    for record in (first, second)
                ],
                "changes": changes(first, second),
            }
            for first, second in found
        ],
    }


if __name__ == "__main__":
    one, two, out = map(Path, sys.argv[1:])
    out.write_text(json.dumps(measured(one, two), indent=2) + "\n", encoding="utf-8")
