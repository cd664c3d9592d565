"""The library's commands, `dreal prepare | train | evaluate | gates`; the book adds its own.

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
Cache = Annotated[Path, typer.Option(help="Where decoded images are kept.")]
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
Records = Annotated[Path, typer.Option(help="Where records are.")]
Deterministic = Annotated[
    bool, typer.Option(help="Repeatable bit by bit on the same hardware; may be slower.")
]
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
    records: Annotated[Path, typer.Option(help="Where the record goes.")] = Path("build/records"),
    device: Device = "auto",
    cache: Cache = Path("build/cache"),
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

      torchrun --nproc-per-node 8 --no-python dreal train table_1/se_resnet50_baseline
      --profile paper --data DATA
    """
    deadline = deadline_after(max_minutes)
    import torch

    from dreal_lib.recipes import load_recipe, parse_overrides
    from dreal_lib.runtime import distributed
    from dreal_lib.training import runs
    from dreal_lib.training.display import TrainingDisplay
    from dreal_lib.training.progress import Pace

    if threads:
        torch.set_num_threads(threads)
    chosen = load_recipe(recipe, profile, variant, parse_overrides(overrides or []))
    folder, place = run or runs.folder_of(chosen, seed), runs.choose_device(device)
    with distributed.joined(place), TrainingDisplay(chosen, folder) as display:
        path = runs.run(
            chosen,
            data,
            folder,
            records,
            seed=seed,
            device=place,
            cache=cache,
            workers=workers,
            decode=decode,
            pace=Pace(checkpoint_minutes, deadline, tuple(keep_epoch or ())),
            repeatable=deterministic,
            sync_bn=sync_bn,
            listener=display.update,
            note=display.note,
        )
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
    records: Records = Path("build/records"),
    images: Annotated[int, typer.Option(help="How many test images.", min=2)] = 256,
    device: Device = "auto",
    cache: Cache = Path("build/cache"),
    threads: Threads = 0,
) -> None:
    """Compare what a run's critics teach with what the reward would, at each checkpoint kept.

    Example:

      dreal audit-critics evidence/se_resnet38_reinforced --profile desktop --variant evidence
      --data DATA
    """
    import torch

    from dreal_lib.recipes import load_recipe, parse_overrides
    from dreal_lib.records import record_path
    from dreal_lib.training import runs
    from dreal_lib.training.run_audit import audit_run

    if threads:
        torch.set_num_threads(threads)
    chosen = load_recipe(recipe, profile, variant, parse_overrides(overrides or []))
    folder, place = run or runs.folder_of(chosen, seed), runs.choose_device(device)
    record = record_path(records, chosen.profile, chosen.variant, chosen.name, seed)
    given = {"images": images, "cache": cache, "device": place}
    typer.echo(f"audit: {audit_run(chosen, seed, data, folder, record, **given)}")


@app.command()
def evaluate(
    weights: Annotated[Path, typer.Argument(help="weights.safetensors of a run.")],
    data: Data,
    device: Device = "auto",
    cache: Cache = Path("build/cache"),
    workers: Workers = None,
) -> None:
    """Evaluate the weights of a run, which hold their recipe, on the val images of a data root.

    Example:

      dreal evaluate build/runs/smoke/table_1/se_resnet50_baseline/seed0/weights.safetensors
      --data build/data/embedded
    """
    from dreal_lib.recipes import metric
    from dreal_lib.training import runs

    found = runs.evaluate_weights(weights, data, runs.choose_device(device), cache, workers)
    for name, value in found.items():
        typer.echo(metric(name).text(value))


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
