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

from vitascope.cli import options
from vitascope.core.errors import UserError

if TYPE_CHECKING:
    from vitascope.pretrain.cost_estimate import TrainingCost
    from vitascope.pretrain.image_teacher import ImageTeacherRecipe
    from vitascope.pretrain.recipe import Recipe
    from vitascope.pretrain.train import TrainConfig

app = typer.Typer()
PATIENCE = 5.0
"""Seconds that ranks other than 0 wait before reporting an error: if all ranks failed, torchrun has stopped them by
then, and the error is printed only once."""
Recipes = Annotated[
    str,
    typer.Argument(
        help="recipe (see `vitascope ls recipes`), or module:function that returns one; with options: RECIPE+lr=3e-4",
        metavar="RECIPE",
    ),
]
Fields = Annotated[
    list[str],
    typer.Option("--set", help="set a recipe field, such as lr=1e-3, shape.depth=4, targets.pixels.weight=0.5; repeat"),
]
Seed = Annotated[
    int | None,
    typer.Option("--seed", help="random seed of weights, masks and the order of clips", show_default="the recipe's"),
]
Checks = Annotated[
    list[str],
    typer.Option(
        "--check",
        help="dataset for in-loop probing; repeat",
        show_default="motionlab/appearance and motion",
    ),
]

Gradients = Annotated[
    int | None,
    typer.Option(
        "--gradients-every",
        help="steps between measurements of each target's gradient; 0: none",
        min=0,
        show_default="at in-loop probings",
    ),
]
Mirrors = Annotated[list[str], typer.Option("--mirror", help="also log to tensorboard or wandb; repeat")]
Decoders = Annotated[
    int,
    typer.Option(
        "--workers",
        help="decoding processes per source and training process, and one for probing; 0: a thread",
        min=0,
    ),
]

Hold = Annotated[
    float,
    typer.Option("--hold", help="hold the training data in this many GB of the device's memory; 0: read them", min=0),
]
CheckLimit = Annotated[
    int,
    typer.Option("--check-limit", help="training and test clips of a dataset for in-loop probing; 0: all", min=0),
]
TeacherCache = Annotated[
    float, typer.Option("--teacher-cache", help="GB of teachers' features kept in the cache folder; 0: none", min=0)
]
Embedder = Annotated[
    str, typer.Option("-m", "--model", help="encoder whose stored embeddings to export (see `vitascope ls encoders`)")
]
Layout = Annotated[str, typer.Option("--to", help="format of exported embeddings: npy, parquet or twelvelabs")]
Exported = Annotated[
    Path | None,
    typer.Option(
        "-o",
        "--output",
        help="output: an encoder file, or a folder for embeddings",
        show_default="RUN/model.safetensors",
    ),
]
Compiled = Annotated[
    str, typer.Option("--compile", help="always: embeddings of the encoder compiled by torch; off: as it is")
]
Ema = Annotated[
    str,
    typer.Option(
        "--ema",
        help="export the moving average of the encoder that this target of the run keeps, such as latent",
        metavar="TARGET",
    ),
]


@app.command()
def pretrain(
    recipe: Recipes,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="run folder", show_default="runs/RECIPE")
    ] = None,
    fields: Fields = [],  # noqa: B006 - typer reads the default
    seed: Seed = None,
    device: options.Device = "",
    workers: Decoders = 0,
    hold: Hold = 0.0,
    parallel: Annotated[
        str, typer.Option("--parallel", help="parallelism under torchrun: ddp (replicated) or fsdp (sharded)")
    ] = "ddp",
    save_every: Annotated[int, typer.Option("--save-every", help="steps between checkpoints", min=1)] = 1000,
    check_every: Annotated[
        int, typer.Option("--check-every", help="steps between in-loop probings; 0: none", min=0)
    ] = 1000,
    checks: Checks = [],  # noqa: B006
    check_limit: CheckLimit = 0,
    gradients_every: Gradients = None,
    log_every: Annotated[int, typer.Option("--log-every", help="steps between lines of the training log", min=1)] = 50,
    mirrors: Mirrors = [],  # noqa: B006
    teacher_cache: TeacherCache = 0,
    stop_at: Annotated[
        int, typer.Option("--stop-at", help="stop after this step; rerun to resume", min=0, show_default="the end")
    ] = 0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="estimate the cost of training from a few timed steps")
    ] = False,
    quiet: options.Quiet = False,
) -> None:
    """Pretrain a video encoder from a recipe. Rerun to resume from the last checkpoint; results are bit-identical.

    Example: vitascope pretrain motionlab_tiny_pixels -o runs/pixels --set steps=1000

    On several GPUs: torchrun --nproc-per-node 8 -m vitascope pretrain twlv1_b --set data=/data --parallel fsdp
    """
    from vitascope.pretrain.monitoring.probing import SUITES, ProbingConfig
    from vitascope.pretrain.train import TrainConfig

    chosen = _recipe(recipe, fields, seed)
    config = TrainConfig(
        device=device,
        workers=workers,
        hold=hold,
        parallel=options.choice(parallel, "--parallel", ("ddp", "fsdp")),
        save_every=save_every,
        check_every=check_every,
        probing=ProbingConfig(suites=tuple(checks) or SUITES, limit=check_limit),
        gradients_every=gradients_every,
        log_every=log_every,
        mirrors=tuple(mirrors),
        quiet=quiet,
        teacher_cache=teacher_cache,
        stop_at=stop_at,
        command=shlex.join(["vitascope", *sys.argv[1:]]),
    )
    run = options.INVOCATION.run = output or Path("runs") / chosen.name
    _start(chosen, run, config, dry_run=dry_run)


@app.command()
def export(
    data: Annotated[
        str, typer.Argument(help="run folder of `vitascope pretrain`, or a dataset embedded with `vitascope embed`")
    ],
    model: Embedder = "",
    to: Layout = "",
    output: Exported = None,
    view: options.View = "uniform",
    data_root: options.DataRoot = None,
    store: options.StoreAt = None,
    compiled: Compiled = "off",
    decoder: options.Decoder = "pyav",
    ema: Ema = "",
) -> None:
    """Export the encoder of a pretraining run, or stored embeddings for other tools.

    Examples: vitascope export runs/pixels; vitascope export runs/mixed --ema latent

    vitascope export ./videos -m vit/tiny-random --to npy -o vectors
    """
    if _is_run(data):
        given = {"-m": model, "--to": to, "--compile": compiled != "off", "--decoder": decoder != "pyav"}
        _export_encoder(Path(data), output, ema=ema, not_applicable=[word for word, value in given.items() if value])
        return
    if ema:
        raise UserError(f"export {data}: --ema is for a pretraining run, which this is not; name its folder")
    from vitascope.core.files import cache
    from vitascope.encoders.card_of import card_of, variant_of
    from vitascope.features import export as exports
    from vitascope.features.extraction_options import store_key
    from vitascope.features.store import Store
    from vitascope.features.view import View
    from vitascope.sampling.names import parse

    missing = [w for w, v in (("-m MODEL", model), ("--to LAYOUT", to), ("-o FOLDER", output)) if not v]
    if missing or output is None:
        raise UserError(f"export {data}: not a pretraining run; to export embeddings, add {', '.join(missing)}")
    layout = options.choice(to, "--to", tuple(exports.LAYOUTS))
    how = options.how_run(options.choice(compiled, "--compile", ("off", "always")), decoder)
    dataset = options.open_videos(data, data_root, labeled=False)
    plain = card_of(model)
    asked = variant_of(plain, compiled=how["compile"] == "always", decoder=how["decoder"])
    stores = [Store(store or cache(), store_key(dataset, card, View(parse(view)))) for card in (asked, plain)]
    # what has no weights is not compiled, and published vectors are of no decoder
    has_variants = plain.params and plain.frames
    chosen = stores[0] if has_variants else next((s for s in stores if s.status()), stores[0])
    count = exports.export(chosen, dataset, output, layout=layout)
    print(f"{count} examples written to {output}")


def _is_run(data: str) -> bool:
    """Whether a folder is a pretraining run."""
    return (Path(data) / "recipe.json").is_file() and (Path(data) / "recorder.jsonl").is_file()


def _export_encoder(run: Path, output: Path | None, *, ema: str, not_applicable: Sequence[str]) -> None:
    from vitascope.pretrain.export import export_run

    if not_applicable:
        raise UserError(
            f"export {run}: {' and '.join(not_applicable)} cannot be used with a pretraining run, which has one encoder"
        )
    if output and output.suffix != ".safetensors":
        raise UserError(f"-o {output}: the encoder is written to a file; name it {output}.safetensors")
    path, card = export_run(run, output, ema=ema)
    print(f"{card.name}: {card.params / 1e6:.2f} M parameters, digest {card.digest}, in {path}")
    print(f"next: vitascope evaluate motionlab/motion -m {shlex.quote(str(path.absolute()))} -t knn -t linear")


def _recipe(name: str, fields: Sequence[str], seed: int | None) -> Recipe | ImageTeacherRecipe:
    """Build the recipe with the fields set by options."""
    from vitascope.core.option_text import once, pairs
    from vitascope.pretrain import find_recipe

    own = () if seed is None else (("seed", str(seed)),)
    return find_recipe.find(name, once((*pairs(fields, "--set").items(), *own), "--set and --seed"))


def _start(recipe: Recipe | ImageTeacherRecipe, run: Path, config: TrainConfig, *, dry_run: bool) -> None:
    """Train, or only estimate what it costs."""
    from vitascope.pretrain.image_teacher import ImageTeacherRecipe

    if isinstance(recipe, ImageTeacherRecipe):
        _train_image_teacher(recipe, run, config, dry_run=dry_run)
    elif dry_run:
        _print_init(recipe)
        _print_notes(recipe)
        _print_cost(recipe, config.device)
    else:
        options.folder(run, "-o")
        _train(recipe, run, config)


def _train(recipe: Recipe, run: Path, config: TrainConfig) -> None:
    """Train, then print the path of the encoder and the next commands."""
    from vitascope.pretrain.train import pretrain as train

    with _single_report():
        path = train(recipe, run, config)
    if _rank():
        return
    print(f"encoder: {path}")
    print(f"next: vitascope report {shlex.quote(str(run))}")
    print(f"next: vitascope evaluate motionlab/motion -m {shlex.quote(str(path.absolute()))} -t knn -t linear")


def _train_image_teacher(recipe: ImageTeacherRecipe, run: Path, config: TrainConfig, *, dry_run: bool) -> None:
    """Train an image teacher, which is small and cannot be resumed."""
    from vitascope.pretrain import image_teacher

    if dry_run:
        size = recipe.shape.params / 1e6
        print(f"{recipe.name}: {size:.2f} M parameters, {recipe.steps} steps of {recipe.batch} stills")
        return
    options.folder(run, "-o")
    path = image_teacher.train(recipe, run, quiet=config.quiet, command=config.command)
    print(f"encoder: {path}")
    print(f"next: vitascope evaluate motionlab/still -m {shlex.quote(str(path.absolute()))} -t knn -t linear")


def _rank() -> int:
    return int(os.environ.get("RANK", "0"))


@contextmanager
def _single_report() -> Iterator[None]:
    """Let only rank 0 report an error that all ranks raise."""
    try:
        yield
    except Exception:
        if _rank():
            time.sleep(PATIENCE)
        raise


def _print_init(recipe: Recipe) -> None:
    """Print what training would start from, if it is not at random; refuse what it would refuse."""
    from vitascope.pretrain import initial

    if recipe.init:
        print(f"starts from {initial.check(recipe.shape, recipe.init)}")


def _print_notes(recipe: Recipe) -> None:
    """Print what training would say about each source; that files are missing is no error yet."""
    from vitascope.pretrain.data.short_videos import notes

    for source, _ in recipe.data:
        try:
            lines = list(notes([source], recipe.spec))
        except UserError as error:
            lines = [str(error)]
        for line in lines:
            print(line)


def _print_cost(recipe: Recipe, device: str) -> None:
    """Print the estimated cost of training."""
    from vitascope.core.device import device as pick
    from vitascope.core.device import free_bytes
    from vitascope.pretrain.cost_estimate import clips_per_second, count_cost

    where = pick(device)
    cost = count_cost(recipe)
    visible = ", ".join(f"{n} of {cost.tokens}" for n in cost.visible_tokens)
    params, trainable = cost.params / 1e6, cost.trainable_params / 1e6
    print(f"{recipe.name}: {params:.2f} M parameters, {trainable:.2f} M including decoders")
    print(f"  visible tokens: {visible}; encoder forward pass: {cost.encoder_gflops:.3g} GFLOP per clip")
    print(f"  training: {cost.clip_gflops:.3g} GFLOP per clip, including teachers, decoders and the backward pass")
    print(f"  {cost.steps:,} steps of {recipe.batch}: {cost.clips:,} clips, {cost.total_pflops:,.3g} PFLOP in total")
    needed, free = cost.bytes / 1e9, free_bytes(where) / 1e9
    print(f"  memory: {needed:.3g} GB for weights, gradients, optimizer and teachers, and more for activations")
    if needed > free:
        print(f"  not timed: {where} has {free:.3g} GB free")
    else:
        _print_speed(cost, clips_per_second(recipe, where), str(where))


def _print_speed(cost: TrainingCost, rate: float, where: str) -> None:
    from vitascope.core.text import rough_duration

    speed, took = rate * cost.clip_gflops, rough_duration(cost.clips / rate)
    print(
        f"  on {where}: {rate:,.3g} clips/s ({speed:,.3g} GFLOP/s) measured on noise, so {took} unless limited by "
        "data; images cost less"
    )
