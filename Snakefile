# The whole path, as one graph: data -> training -> records -> notebooks -> book.
# `dreal reproduce` and the make targets are fronts of this file; it can be run by hand too:
#   snakemake --cores 2                                          one pair of runs, embedded data
#   snakemake --cores 2 --config rows=all seeds=0,1,2            every row, three seeds
#   snakemake --cores 2 --config profile=desktop variant=two_cores data=DATA
import hashlib
from pathlib import Path

from dreal_lib.parameters import PAGES
from dreal_lib.recipes import recipe_names
from dreal_lib.records import scale_name

PROFILE = config.get("profile", "smoke")
VARIANT = config.get("variant") or None
SEEDS = str(config.get("seeds", "0")).split(",")
SCALE = scale_name(PROFILE, VARIANT)
PAIR = ["table_1/se_resnet50_baseline", "table_1/se_resnet50_reinforced"]
ROWS = recipe_names() if config.get("rows") == "all" else PAIR
DATA = Path(config.get("data") or "build/data/embedded")
EMBEDDED = not config.get("data")

NOTEBOOKS = sorted(path.stem for path in Path("book/notebooks").glob("*.py"))
RECORDS = expand("build/records/{scale}/{row}/seed{seed}.json", scale=SCALE, row=ROWS, seed=SEEDS)
BOOK_FILES = [str(path) for path in sorted(Path("book").rglob("*")) if path.suffix in {".md", ".bib", ".css", ".yml"}]
COMMITTED = [str(path) for path in sorted(Path("book/records").rglob("*.json"))]

# What only presents results cannot change a run; everything else in the library may.
PRESENTING = set("""
    ablations attended attention_claims attention_figures attention_measures channel_attention
    chosen_images cli compare complexity curves display figures notebooks overlays page paper
    parameters pictures provenance schematic schematic_figure schematic_text spatial_attention
    table_1 table_3 tables verdicts workflow
""".split())
LIBRARY = sorted(Path("dreal_lib").glob("*.py"))
TRAINING = [str(p) for p in LIBRARY if p.stem not in PRESENTING | {"__init__"}]
TRAINING += [str(path) for path in sorted(Path("dreal_lib/recipes").rglob("*.*")) if path.suffix in {".py", ".yaml"}]
GENERATOR = [str(path) for path in sorted(Path("data_prep").rglob("*.py"))]


def sources_hash() -> str:
    """Names a run's folder, so that a checkpoint is continued only by the code that wrote it."""
    files = TRAINING + (GENERATOR if EMBEDDED else [])
    content = [Path(file).read_bytes() for file in files]
    if not EMBEDDED and (DATA / "manifest.json").exists():
        content.append((DATA / "manifest.json").read_bytes())
    return hashlib.sha256(b"".join(content)).hexdigest()[:8]


def page_parameters(page: str) -> str:
    """What a notebook is given: this run's scale and seeds, where the page shows runs at all."""
    if "records_root" not in PAGES[page]:
        return ""
    given = {"results": "rerun", "profile": PROFILE, "variant": VARIANT or "none"}
    given["seeds"] = "[" + ",".join(SEEDS) + "]"
    return " ".join(f"-p {name}={value}" for name, value in given.items())


rule all:
    input:
        "build/book/_build/html/index.html",


rule embedded_data:
    input:
        GENERATOR,
    output:
        "build/data/embedded/manifest.json",
    threads: workflow.cores or 1
    log:
        "build/logs/embedded.log",
    shell:
        "rm -rf build/data/embedded && dreal prepare embedded build/data/embedded"
        " --workers {threads} > {log} 2>&1"


rule train:
    input:
        TRAINING,
        data=[str(DATA / "manifest.json")] if EMBEDDED or (DATA / "manifest.json").exists() else [],
    output:
        f"build/records/{SCALE}/{{row}}/seed{{seed}}.json",
    params:
        profile=f"--profile {PROFILE}" + (f" --variant {VARIANT}" if VARIANT else ""),
        data=DATA,
        run=lambda w: f"build/runs/{SCALE}/{w.row}/seed{w.seed}-{sources_hash()}",
    wildcard_constraints:
        row="(?:table_[0-9]+|ablations)/[a-z0-9_]+",
        seed="[0-9]+",
    threads: 1
    log:
        f"build/logs/{SCALE}/{{row}}/seed{{seed}}.log",
    shell:
        "dreal train {wildcards.row} {params.profile} --seed {wildcards.seed} --data {params.data:q}"
        " --run {params.run} --threads {threads} >> {log} 2>&1"


rule notebook:
    input:
        RECORDS,
        COMMITTED,
        [str(path) for path in LIBRARY],
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
