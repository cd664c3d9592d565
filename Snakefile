# The whole path, as one graph: data -> training -> records -> notebooks -> book.
# `dreal reproduce` and the make targets are fronts of this file; it can be run by hand too (--config
# reads each value as YAML: for a folder with `#` or `: ` in its name write a --configfile):
#   snakemake --cores 2                                          a pair of runs a task, rendered data
#   snakemake --cores 2 --config rows=all seeds=0,1,2            every row, three seeds
#   snakemake --cores 2 --config rows=table_3                    a table's rows
#   snakemake --cores 2 --config rows=fig_6                      the rows that a page shows
#   snakemake --cores 2 --config profile=desktop variant=two_cores data=DATA
#   snakemake --cores 16 --config train_threads=16 ...            one run at a time, e.g. on a GPU
import hashlib
import shlex
from functools import cache
from pathlib import Path

from book.companion.reproduction.backlog import rows_of, tasks_of
from book.companion.reproduction.dependencies import files_of_a_page, files_of_a_run, files_reached, rows_of_records
from book.companion.pages.catalogue import PAGES
from book.companion.reproduction.own_images import placed_variant
from book.companion.reproduction.planned_runs import FailedRules, PlannedRuns
from dreal_lib.recipes import TASKS, task_of
from dreal_lib.records import scale_name
from snakemake.logging import logger

PROFILE = config.get("profile", "smoke")
VARIANT = config.get("variant") or None
SEEDS = list(dict.fromkeys(str(config.get("seeds", "0")).split(",")))
# Each task learns from rendered images of its own; a set that is given fits one of them.
RENDERED = {task: Path("build/data", facts.rendered) for task, facts in TASKS.items()}
GIVEN = Path(config["data"]) if config.get("data") else None
DATA = {task: GIVEN for task in tasks_of(GIVEN)} if GIVEN else RENDERED
ROWS = rows_of(config.get("rows", "pair"), GIVEN)
# Own data have a scale of their own, which names their fingerprint: records of others do not count.
PLACED = config["placed"] or None if "placed" in config else placed_variant(config.get("rows", "pair"), GIVEN, PROFILE, VARIANT)
SCALE = scale_name(PROFILE, PLACED)

if config.get("planned"):  # a dry run leaves there which runs it would make
    logger.addHandler(PlannedRuns(config["planned"]))
if config.get("failed"):  # the front prints the reasons
    logger.addHandler(FailedRules(config["failed"]))

RECORDS = expand("build/records/{scale}/{row}/seed{seed}.json", scale=SCALE, row=ROWS, seed=SEEDS)
NOTEBOOKS = sorted(path.stem for path in Path("book/notebooks").glob("*.py"))
BOOK_FILES = [str(path) for path in sorted(Path("book").rglob("*")) if path.suffix in {".md", ".bib", ".css", ".js", ".svg", ".yml"}]


def of_project(files) -> list[str]:
    return [str(path.relative_to(Path.cwd())) for path in files]


@cache
def sources(row: str) -> list[str]:
    """What decides a row's run: its code and its recipe; a change elsewhere runs nothing again."""
    return of_project(files_of_a_run(task_of(row), row, PROFILE, VARIANT))


def manifest(task: str) -> list[str]:
    """What stands for a task's data if they are rendered on demand.

    Given ones count by the name of the run's folder, since a file's name is a pattern to Snakemake.
    """
    return [str(DATA[task] / "manifest.json")] if DATA is RENDERED else []


@cache
def sources_hash(row: str) -> str:
    """Names a run's folder, so that a checkpoint is continued only by the code that wrote it."""
    files = [Path(file) for file in sources(row)]
    if DATA is RENDERED:
        files += [Path(file) for file in generator(RENDERED[task_of(row)].name)]
    elif (given := DATA[task_of(row)] / "manifest.json").exists():
        files.append(given)
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:8]


def generator(images: str) -> list[str]:
    """The code that renders a set of images."""
    script = images.replace("-", "_") + ".py"
    return of_project(files_reached(Path.cwd() / "data_prep" / script))


def page_parameters(page: str) -> str:
    """What a notebook is given: this run's scale and seeds, where the page shows runs at all."""
    if not PAGES[page].rows:
        return "-p results=rerun" if "results" in PAGES[page].parameters else ""
    given = {"results": "rerun", "profile": PROFILE, "variant": PLACED or "none"}
    if PAGES[page].task not in DATA:  # this batch made no run that the page could show
        given["variant"] = "default"
    given["seeds"] = "[" + ",".join(SEEDS) + "]"
    return " ".join(f"-p {shlex.quote(f'{name}={value}')}" for name, value in given.items())


@cache
def page_sources(page: str) -> list[str]:
    """What decides a page: what its notebook imports, and what it shows of the committed."""
    return of_project(files_of_a_page(PAGES[page]))


def page_records(page: str) -> list[str]:
    """Those records of this batch that a page reads."""
    rows = [row for row in ROWS if row in rows_of_records(PAGES[page])]
    return expand("build/records/{scale}/{row}/seed{seed}.json", scale=SCALE, row=rows, seed=SEEDS)


rule all:
    input:
        RECORDS,  # also those that no page shows
        "build/book/_build/html/index.html",


# Not this shell's standard input, which holds a batch's lock (book/companion/reproduction/one_batch.py): rendering
# processes do not end by themselves if the one that started them is killed.
rule rendered:
    input:
        lambda w: generator(w.images),
    output:
        "build/data/{images}/manifest.json",
    wildcard_constraints:
        images="|".join(folder.name for folder in RENDERED.values()),
    threads: workflow.cores or 1
    log:
        "build/logs/{images}.log",
    shell:
        "rm -rf build/data/{wildcards.images} && dreal prepare {wildcards.images} build/data/{wildcards.images}"
        " --workers {threads} < /dev/null > {log} 2>&1"


rule train:
    input:
        lambda w: sources(w.row),
        data=lambda w: manifest(task_of(w.row)),
    output:
        f"build/records/{SCALE}/{{row}}/seed{{seed}}.json",
    params:
        profile=f"--profile {PROFILE}" + (f" --variant {VARIANT}" if VARIANT else ""),
        data=lambda w: DATA[task_of(w.row)],
        run=lambda w: f"build/runs/{SCALE}/{w.row}/seed{w.seed}-{sources_hash(w.row)}",
        workers=lambda w, threads: threads - 1,  # they feed a GPU
    wildcard_constraints:
        row="[a-z0-9_]+/[a-z0-9_]+",
        seed="[0-9]+",
    threads: int(config.get("train_threads", 1))
    log:
        f"build/logs/{SCALE}/{{row}}/seed{{seed}}.log",
    shell:
        "dreal train {wildcards.row} {params.profile} --seed {wildcards.seed} --data {params.data:q}"
        " --run {params.run} --threads {threads} --workers {params.workers} >> {log} 2>&1"


rule notebook:
    input:
        lambda w: page_records(w.name),
        lambda w: page_sources(w.name),
        source="book/notebooks/{name}.py",
    output:
        "build/source/notebooks/{name}.ipynb",
    params:
        given=lambda w: page_parameters(w.name),
    log:
        "build/logs/notebooks/{name}.log",
    shell:
        "dreal execute {input.source} {output} {params.given} > {log} 2>&1"


# From an empty folder each time: an incremental build would hide an earlier one's warnings.
rule book:
    input:
        BOOK_FILES,
        "_config.yml",
        notebooks=expand("build/source/notebooks/{name}.ipynb", name=NOTEBOOKS),
    output:
        "build/book/_build/html/index.html",
    log:
        "build/logs/book.log",
    shell:
        "(rm -rf build/book && cp -R book/_toc.yml book/references.bib book/*.md book/_style book/_vendor build/source/"
        " && jupyter-book build build/source --config _config.yml --path-output build/book"
        " -W --keep-going -n) > {log} 2>&1"
