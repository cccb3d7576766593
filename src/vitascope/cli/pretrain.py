"""The commands `vitascope pretrain` and `vitascope export`."""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vitascope.cli import options as flags
from vitascope.core.errors import UserError
from vitascope.features.view import View

if TYPE_CHECKING:
    from vitascope.pretrain.image_teacher import ImageTeacherRecipe
    from vitascope.pretrain.recipe import Recipe
    from vitascope.pretrain.train import TrainConfig

app = typer.Typer()
PATIENCE = 5.0
"""Seconds for which a process that is not the first waits before it tells its error: if all have met it, torchrun has
ended this one by then, and it is told once."""
Recipes = Annotated[
    str, typer.Argument(help="recipe, see `vitascope ls recipes`, or module:function", metavar="RECIPE")
]
Fields = Annotated[
    list[str],
    typer.Option("--set", help="field:value, such as lr:1e-3, shape.depth:4, targets.pixels.weight:0.5; repeat"),
]
Checks = Annotated[
    list[str],
    typer.Option(
        "--check",
        help="data set that probes are asked of during training; repeat",
        show_default="motionlab/appearance and motion",
    ),
]

Mirrors = Annotated[list[str], typer.Option("--mirror", help="tensorboard or wandb: gets what is recorded too")]
Decoders = Annotated[
    int,
    typer.Option("--workers", help="decoding processes of a source in each training process; 0: a thread", min=0),
]


@app.command()
def pretrain(
    recipe: Recipes,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="run folder", show_default="runs/RECIPE")
    ] = None,
    fields: Fields = [],  # noqa: B006 - typer reads the default
    seed: Annotated[
        int | None, typer.Option("--seed", help="of weights, masks and the order of clips", show_default="the recipe's")
    ] = None,
    device: flags.Device = "",
    workers: Decoders = 0,
    parallel: Annotated[
        str, typer.Option("--parallel", help="under torchrun: ddp (a copy each) or fsdp (a part each)")
    ] = "ddp",
    save_every: Annotated[int, typer.Option("--save-every", help="steps between checkpoints", min=1)] = 1000,
    check_every: Annotated[int, typer.Option("--check-every", help="steps between check-ups; 0: none", min=0)] = 1000,
    checks: Checks = [],  # noqa: B006
    log_every: Annotated[int, typer.Option("--log-every", help="steps between lines of the recorder", min=1)] = 50,
    mirrors: Mirrors = [],  # noqa: B006
    stop_at: Annotated[
        int, typer.Option("--stop-at", help="stop after this step, to go on later", min=0, show_default="the end")
    ] = 0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="say what training would cost, from a few steps against the clock")
    ] = False,
    quiet: flags.Quiet = False,
) -> None:
    """Pretrain a video encoder. Killed, the same command goes on from the last checkpoint, to the same bits.

    For instance: vitascope pretrain motionlab_tiny_pixels -o runs/pixels --set steps:1000

    On several GPUs: torchrun --nproc-per-node 8 -m vitascope pretrain twlv1_b --set data:/data --parallel fsdp
    """
    from vitascope.pretrain.image_teacher import ImageTeacherRecipe
    from vitascope.pretrain.monitoring.probing import ProbingConfig
    from vitascope.pretrain.train import TrainConfig

    made = _recipe(recipe, fields, seed)
    setting = TrainConfig(
        device=device,
        workers=workers,
        parallel=flags.choice(parallel, "--parallel", ("ddp", "fsdp")),
        save_every=save_every,
        check_every=check_every,
        checkup=ProbingConfig(suites=tuple(checks)) if checks else ProbingConfig(),
        log_every=log_every,
        mirrors=tuple(mirrors),
        quiet=quiet,
        stop_at=stop_at,
        command=shlex.join(["vitascope", *sys.argv[1:]]),
    )
    run = output or Path("runs") / made.name
    if isinstance(made, ImageTeacherRecipe):
        _teach(made, run, setting, dry_run=dry_run)
    elif dry_run:
        _tell_outlook(made, device)
    else:
        flags.folder(run, "-o")
        _train(made, run, setting)


@app.command()
def export(
    data: Annotated[str, typer.Argument(help="run folder of pretraining, or a data set whose embeddings are stored")],
    model: Annotated[
        str, typer.Option("-m", "--model", help="of embeddings: the encoder, see `vitascope ls encoders`")
    ] = "",
    to: Annotated[str, typer.Option("--to", help="of embeddings: npy, parquet or twelvelabs")] = "",
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", help="file, or of embeddings folder, to make", show_default="RUN/model.safetensors"
        ),
    ] = None,
    view: flags.View = "uniform",
    data_root: flags.DataRoot = None,
    store: flags.StoreAt = None,
) -> None:
    """Write the encoder of a pretraining run's last checkpoint; or stored embeddings (of `embed`) for other tools."""
    if _is_run(data):
        _export_encoder(Path(data), output, wrong=[w for w, v in (("-m", model), ("--to", to)) if v])
        return
    from vitascope.core.files import cache
    from vitascope.encoders.load import load
    from vitascope.features import export as exports
    from vitascope.features import extract
    from vitascope.features.store import Store
    from vitascope.sampling.names import parse

    lacking = [w for w, v in (("-m MODEL", model), ("--to LAYOUT", to), ("-o FOLDER", output)) if not v]
    if lacking or output is None:
        raise UserError(f"export {data}: it is no run of pretraining, and of embeddings {', '.join(lacking)} is wanted")
    layout = flags.choice(to, "--to", tuple(exports.LAYOUTS))
    dataset = flags.of_videos(data, data_root)
    key = extract.key_of(dataset, load(model).card, View(parse(view)))
    count = exports.export(Store(store or cache(), key), dataset, output, layout=layout)
    print(f"{count} examples written to {output}")


def _is_run(data: str) -> bool:
    """Whether a folder is a run of pretraining."""
    return (Path(data) / "recipe.json").is_file() and (Path(data) / "recorder.jsonl").is_file()


def _export_encoder(run: Path, output: Path | None, *, wrong: Sequence[str]) -> None:
    from vitascope.pretrain.export import of_run

    if wrong:
        raise UserError(f"export {run}: a run of pretraining has one encoder; leave {', '.join(wrong)} out")
    if output and output.suffix != ".safetensors":
        raise UserError(f"-o {output}: the encoder is a file; call it {output}.safetensors")
    path, card = of_run(run, output)
    print(f"{card.name}: {card.params / 1e6:.2f} M parameters, digest {card.digest}, in {path}")
    print(f"next: vitascope evaluate motionlab/motion -m {shlex.quote(str(path.absolute()))} -t knn -t linear")


def _recipe(name: str, fields: Sequence[str], seed: int | None) -> Recipe | ImageTeacherRecipe:
    """The recipe, as flags change it."""
    from vitascope.pretrain import find_recipe

    pairs = [field.partition(":") for field in fields]
    if wrong := next((field for field, pair in zip(fields, pairs, strict=True) if not pair[1]), ""):
        raise UserError(f"--set {wrong}: field:value is wanted, such as lr:1e-3")
    asked = {key: value for key, _, value in pairs}
    if len(asked) < len(pairs):
        raise UserError(f"--set {' '.join(fields)}: a field is set twice")
    return find_recipe.find(name, asked if seed is None else {**asked, "seed": str(seed)})


def _train(recipe: Recipe, run: Path, setting: TrainConfig) -> None:
    """Train, and say where the encoder is and what to do with it."""
    from vitascope.pretrain.train import pretrain as train

    with _one_voice():
        path = train(recipe, run, setting)
    if _rank():
        return
    print(f"encoder: {path}")
    print(f"next: vitascope report {shlex.quote(str(run))}")
    print(f"next: vitascope evaluate motionlab/motion -m {shlex.quote(str(path.absolute()))} -t knn -t linear")


def _teach(recipe: ImageTeacherRecipe, run: Path, setting: TrainConfig, *, dry_run: bool) -> None:
    """Train a teacher of stills, which is small and made in one go."""
    from vitascope.pretrain import image_teacher

    if dry_run:
        size = recipe.shape.params / 1e6
        print(f"{recipe.name}: {size:.2f} M parameters, {recipe.steps} steps of {recipe.batch} stills")
        return
    flags.folder(run, "-o")
    path = image_teacher.train(recipe, run, quiet=setting.quiet, command=setting.command)
    print(f"encoder: {path}")
    print(f"next: vitascope evaluate motionlab/still -m {shlex.quote(str(path.absolute()))} -t knn -t linear")


def _rank() -> int:
    return int(os.environ.get("RANK", "0"))


@contextmanager
def _one_voice() -> Iterator[None]:
    """Errors are told by the first process alone, unless another is alone with its own."""
    try:
        yield
    except (ValueError, OSError):
        if _rank():
            time.sleep(PATIENCE)
        raise


def _tell_outlook(recipe: Recipe, device: str) -> None:
    """Print what training would cost."""
    from vitascope.cli import tables as listing
    from vitascope.core.device import device as pick
    from vitascope.pretrain.cost_estimate import outlook

    where = pick(device)
    found = outlook(recipe, where)
    seen = ", ".join(f"{n} of {found.tokens}" for n in found.visible)
    print(f"{recipe.name}: {found.params / 1e6:.2f} M parameters, {found.trained / 1e6:.2f} M with the decoders")
    print(f"  tokens seen: {seen}; the encoder's forward pass over them: {found.encoder:.3g} GFLOP a clip")
    print(f"  training: {found.step:.3g} GFLOP a clip, teachers, decoders and the backward pass included")
    print(f"  {found.steps:,} steps of {recipe.batch}: {found.clips:,} clips, {found.total:,.3g} PFLOP in all")
    rate, speed = f"{found.rate:,.3g} clips/s", found.rate * found.step
    time_ = listing.duration(found.seconds)
    print(
        f"  on {where}: {rate} ({speed:,.3g} GFLOP/s) measured on noise, so {time_} if data keep up; stills cost less"
    )
