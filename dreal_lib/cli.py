"""The library's commands: `dreal prepare | train | evaluate | predict | export | gates`.

The book adds its own.

What a command needs is imported when it is run: help and refusals come at once.
"""

from importlib import import_module
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Annotated

import typer
from typer.core import TyperGroup

from dreal_lib.runtime.deadline import deadline_after

# Of `dreal prepare`: each is the `main` of a module of data_prep.
SETS = (
    "embedded",
    "tiny-imagenet",
    "cifar",
    "imagenette",
    "imagenet",
    "embedded-figures",
    "omniglot",
    "grocery",
    "market1501",
    "dukemtmc",
    "cuhk03",
    "msmt17",
)


class PreparedSets(TyperGroup):
    """A command for each of `SETS`; its module is imported when the command is looked up."""

    def list_commands(self, ctx: typer.Context) -> list[str]:
        return list(SETS)

    def get_command(self, ctx: typer.Context, cmd_name: str):
        if cmd_name not in SETS:
            return None
        module = import_module(f"data_prep.{cmd_name.replace('-', '_')}")
        alone = typer.Typer(add_completion=False, rich_markup_mode=None)
        alone.command(cmd_name)(module.main)
        return typer.main.get_command(alone)


app = typer.Typer(
    help="Deep Reinforced Attention Learning (Li & Chen, 2020): train, evaluate, reproduce.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: importing rich takes longer than all the rest
)
app.add_typer(
    typer.Typer(
        cls=PreparedSets,
        help="Bring a data set into the layout that training reads.",
        no_args_is_help=True,
    ),
    name="prepare",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"dreal {version_of('dreal-companion')}")
        raise typer.Exit


@app.callback()
def program(
    version: Annotated[
        bool, typer.Option("--version", help="The version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    pass


Data = Annotated[
    Path, typer.Option(help="Prepared set: train/CLASS and val/CLASS images, or an index.csv.")
]
Profile = Annotated[str, typer.Option(help="Scale: smoke, desktop or paper.")]
Variant = Annotated[str | None, typer.Option(help="Named set of overrides, e.g. two_cores.")]
Set = Annotated[
    list[str] | None, typer.Option("--set", help="Override a recipe value, e.g. --set epochs=3.")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Cache = Annotated[
    Path | None, typer.Option(help="Where decoded images are kept; build/cache if unset.")
]
Workers = Annotated[
    int | None,
    typer.Option(help="Processes that decode streamed images; by default up to 4.", min=0),
]
MaxMinutes = Annotated[
    float | None, typer.Option(help="Stop in time, with status 75; the same command goes on.")
]
Seed = Annotated[int, typer.Option(help="Of everything random.", min=0)]
RunFolder = Annotated[
    Path | None, typer.Option(help="Folder of checkpoint and weights; build/runs/... if unset.")
]
Decode = Annotated[
    str, typer.Option(help="What decodes streamed JPEGs to train on: workers or device.")
]
Threads = Annotated[int, typer.Option(help="CPU threads; 0 leaves it to torch.", min=0)]
CheckpointMinutes = Annotated[
    float, typer.Option(help="Between checkpoints in an epoch; 0: at its end alone.", min=0)
]
KeepEpoch = Annotated[
    list[int] | None,
    typer.Option(help="Keep the checkpoint after this epoch, too; may be repeated.", min=1),
]
Records = Annotated[Path | None, typer.Option(help="Where records are; build/records if unset.")]
Deterministic = Annotated[
    bool, typer.Option(help="Repeatable bit by bit on the same hardware; may be slower.")
]
Weights = Annotated[Path, typer.Argument(help="weights.safetensors of a run.")]
SyncBN = Annotated[bool, typer.Option("--sync-bn", help="BatchNorm over the batches of all GPUs.")]


@app.command()
def train(
    recipe: Annotated[str, typer.Argument(help="A row, e.g. table_1/se_resnet50_reinforced.")],
    data: Data,
    profile: Profile = "smoke",
    variant: Variant = None,
    overrides: Set = None,
    seed: Seed = 0,
    run: RunFolder = None,
    records: Annotated[
        Path | None, typer.Option(help="Where the record goes; build/records if unset.")
    ] = None,
    device: Device = "auto",
    cache: Cache = None,
    workers: Workers = None,
    decode: Decode = "workers",
    threads: Threads = 0,
    max_minutes: MaxMinutes = None,
    checkpoint_minutes: CheckpointMinutes = 10.0,
    keep_epoch: KeepEpoch = None,
    deterministic: Deterministic = False,
    sync_bn: SyncBN = False,
) -> None:
    """Train one row and write its record. Run again, it continues where it stopped.

    Examples:

      dreal train table_1/se_resnet50_reinforced --profile smoke --data build/data/embedded

      dreal train table_1/se_resnet50_baseline --profile desktop --variant two_cores --data DATA

      dreal train table_1/se_resnet50_reinforced --data MY_IMAGES --set epochs=30

      dreal train table_1/se_resnet50_baseline --profile paper --data DATA --max-minutes 55

      torchrun --nproc-per-node 8 --no-python -- dreal train table_1/se_resnet50_baseline
      --profile paper --data DATA
    """
    deadline = deadline_after(max_minutes)
    import torch

    from dreal_lib.recipes import load_recipe, parse_overrides
    from dreal_lib.runtime import distributed
    from dreal_lib.runtime.environment import build_folder
    from dreal_lib.training import runs
    from dreal_lib.training.display import TrainingDisplay
    from dreal_lib.training.progress import Pace

    if threads:
        torch.set_num_threads(threads)
    chosen = load_recipe(recipe, profile, variant, parse_overrides(overrides or []))
    place = runs.choose_device(device)
    with distributed.joined(place), TrainingDisplay(chosen) as display:
        path = runs.run(
            chosen,
            data,
            run,
            records or build_folder() / "records",
            seed=seed,
            device=place,
            cache=cache or build_folder() / "cache",
            workers=workers,
            decode=decode,
            pace=Pace(checkpoint_minutes, deadline, tuple(keep_epoch or ())),
            repeatable=deterministic,
            sync_bn=sync_bn,
            listener=display.update,
            note=display.note,
            begin=display.begin,
        )
        display.note(f"weights: {display.folder / runs.WEIGHTS}")
        display.note(f"record: {path}")


@app.command()
def audit_critics(
    recipe: Annotated[str, typer.Argument(help="A reinforced row whose run is finished.")],
    data: Data,
    profile: Profile = "smoke",
    variant: Variant = None,
    overrides: Set = None,
    seed: Seed = 0,
    run: RunFolder = None,
    records: Records = None,
    images: Annotated[int, typer.Option(help="How many test images.", min=2)] = 256,
    device: Device = "auto",
    cache: Cache = None,
    threads: Threads = 0,
) -> None:
    """Compare what a run's critics teach with what the reward would, at each checkpoint kept.

    Example:

      dreal audit-critics evidence/se_resnet38_reinforced --profile desktop --variant evidence
      --data DATA
    """
    import torch

    from dreal_lib.recipes import load_recipe, parse_overrides
    from dreal_lib.runtime.environment import build_folder
    from dreal_lib.tasks.task import open_data
    from dreal_lib.training import runs
    from dreal_lib.training.run_audit import audit_run

    if threads:
        torch.set_num_threads(threads)
    chosen = load_recipe(recipe, profile, variant, parse_overrides(overrides or []))
    cache = cache or build_folder() / "cache"
    chosen = runs.placed(chosen, open_data(chosen, data, cache))
    folder = run or runs.folder_of(chosen, seed)
    record = runs.record_path_of(chosen, seed, records or build_folder() / "records")
    given = {"images": images, "cache": cache, "device": runs.choose_device(device)}
    typer.echo(f"audit: {audit_run(chosen, seed, data, folder, record, **given)}")


@app.command()
def evaluate(
    weights: Weights,
    data: Data,
    device: Device = "auto",
    cache: Cache = None,
    workers: Workers = None,
) -> None:
    """Evaluate the weights of a run, which hold their recipe, on the val images of a data root.

    Example:

      dreal evaluate build/runs/smoke/table_1/se_resnet50_baseline/seed0/weights.safetensors
      --data build/data/embedded
    """
    from dreal_lib.recipes import metric
    from dreal_lib.runtime.environment import build_folder
    from dreal_lib.training import runs, trained

    cache = cache or build_folder() / "cache"
    found = trained.evaluate_weights(weights, data, runs.choose_device(device), cache, workers)
    for name, value in found.items():
        typer.echo(metric(name).text(value))


@app.command()
def predict(
    weights: Weights,
    images: Annotated[list[Path], typer.Argument(help="Image files.")],
    as_json: Annotated[
        bool, typer.Option("--json", help="Every class of every image, as JSON.")
    ] = False,
    device: Device = "auto",
) -> None:
    """Say which class single images show, by the weights of a run that was trained on classes.

    Example:

      dreal predict build/runs/SCALE/table_1/se_resnet50_baseline/seed0/weights.safetensors cat.jpg
    """
    import json

    from dreal_lib.training import runs, trained

    found = trained.open_classifier(weights, runs.choose_device(device)).predict(images)
    if as_json:
        rows = [
            {"file": one.file, "class": one.top, "probability": one.probabilities[one.top]}
            | {"probabilities": one.probabilities}
            for one in found
        ]
        typer.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    width = max(len(one.file) for one in found)
    for one in found:
        typer.echo(f"{one.file:<{width}}  {one.probabilities[one.top]:.4f}  {one.top}")


@app.command()
def export(
    weights: Weights,
    out: Annotated[Path, typer.Argument(help="Folder for model.safetensors and config.json.")],
    program: Annotated[
        bool, typer.Option("--program", help="Also model.pt2, for torch.export.load.")
    ] = False,
) -> None:
    """Hand a classifier on: plain weights, and a config that `dreal_lib.create_model` reads.

    Example:

      dreal export build/runs/SCALE/table_1/se_resnet50_baseline/seed0/weights.safetensors my_model
    """
    from dreal_lib.training.trained import export_classifier

    for path in export_classifier(weights, out, program):
        typer.echo(f"written: {path}")


@app.command()
def gates(
    network: Annotated[
        str, typer.Argument(help="timm:NAME, torchvision:NAME or PACKAGE.MODULE:FACTORY.")
    ],
    size: Annotated[int, typer.Option(help="Side of the images.", min=1)] = 224,
    channels: Annotated[int, typer.Option(help="Channels of the images.", min=1)] = 3,
    stage: Annotated[
        list[str] | None, typer.Option(help="A module whose gates share a critic; repeatable.")
    ] = None,
    pattern: Annotated[str | None, typer.Option(help="Only gates whose path matches it.")] = None,
) -> None:
    """List the attention of any network: where features are multiplied by a map.

    Examples:

      dreal gates timm:seresnet50

      dreal gates torchvision:efficientnet_b0 --size 64 --pattern 'features[.][34].*'
    """
    import torch

    from dreal_lib.actor_critic.gates import find_gates, table
    from dreal_lib.networks.foreign import load_network

    model, example = load_network(network), torch.zeros(1, channels, size, size)
    for line in table(find_gates(model, example, gates=pattern, stages=stage or "auto")):
        typer.echo(line)
