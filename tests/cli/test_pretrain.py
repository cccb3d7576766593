"""`vitascope pretrain` and `vitascope export RUN`: from a name and fields to a run, from a run to an encoder."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import pretraining
from helpers import Done, vitascope
from pretraining import losses, recipe, train
from vitascope.core.option_text import changed
from vitascope.encoders.load import load
from vitascope.encoders.weights.native_card import read_metadata
from vitascope.pretrain import find_recipe
from vitascope.pretrain.monitoring import log as recording
from vitascope.pretrain.recipe import Recipe

TESTS = Path(pretraining.__file__).parent
PLAIN = ("--device", "cpu", "--check-every", "0", "--log-every", "1", "--save-every", "2", "-q")


def pretrain(*arguments: object, code: int = 0) -> Done:
    """Run the command without in-loop probing."""
    return vitascope("pretrain", *arguments, *PLAIN, code=code)


def test_a_run_from_the_command_line_is_the_run_from_python(tmp_path: Path) -> None:
    output = pretrain("pretraining:recipe", "-o", tmp_path / "run", "--seed", 3, "--set", "lr=1e-3").stdout
    train(tmp_path / "same", recipe(seed=3, lr=1e-3))
    assert losses(tmp_path / "run") == losses(tmp_path / "same")
    assert f"encoder: {tmp_path}/run/model.safetensors" in output
    assert f"vitascope report {tmp_path}/run" in output
    command = read_metadata(tmp_path / "run" / "model.safetensors").origin["command"]
    assert command.startswith("vitascope pretrain pretraining:recipe -o ")
    assert "--seed 3 --set lr=1e-3" in command


def test_stopped_and_rerun_it_resumes(tmp_path: Path) -> None:
    pretrain("pretraining:recipe", "-o", tmp_path / "run", "--stop-at", 3)
    assert max(losses(tmp_path / "run")) == 3
    pretrain("pretraining:recipe", "-o", tmp_path / "run")
    train(tmp_path / "same")
    assert losses(tmp_path / "run") == losses(tmp_path / "same")


def test_the_default_folder_is_named_after_the_recipe(tmp_path: Path) -> None:
    vitascope("pretrain", "pretraining:recipe", *PLAIN, "--set", "steps:3", cwd=tmp_path)
    assert recording.read(tmp_path / "runs" / "tiny").done


def test_a_dry_run_counts_and_times_and_writes_nothing(tmp_path: Path) -> None:
    output = vitascope("pretrain", "pretraining:recipe", "--dry-run", "--device", "cpu", cwd=tmp_path).stdout
    made = recipe()
    visible = 8  # of 9 places round(0.6 * 9) = 5 are hidden, in both steps
    embed, block = visible * 3 * 2 * 64 * 32, visible * (4 * 32**2 + 2 * 32 * 64) + 2 * visible**2 * 32
    assert f"visible tokens: {visible} of 18" in output
    assert f"{made.shape.params / 1e6:.2f} M parameters" in output
    assert f"forward pass: {2 * (embed + 2 * block) / 1e9:.3g} GFLOP per clip" in output
    assert "6 steps of 8: 48 clips" in output
    assert "clips/s" in output
    assert not list(tmp_path.iterdir())


def test_a_dry_run_checks_the_weights_to_start_from(tmp_path: Path) -> None:
    source = train(tmp_path / "first", stop_at=1)

    def dry(init: object, *more: str, code: int = 0) -> Done:
        return vitascope("pretrain", "pretraining:recipe", "--set", f"init={init}", *more, "--dry-run", code=code)

    assert f"starts from tiny-step1 ({load(str(source)).card.digest})" in dry(source).stdout
    assert "after 1 steps, with decoders and optimizer state" in dry(tmp_path / "first").stdout
    for done, message in (
        (dry(tmp_path / "absent.safetensors", code=2), "absent.safetensors: "),
        (dry(source, "--set", "shape.depth=3", code=2), "another network: depth is 2, the recipe's 3"),
    ):
        assert done.stderr.startswith("error: init=")
        assert message in done.stderr
        assert done.stderr.count("\n") == 1
        assert not done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pretraining:recip"], "no function 'recip' in pretraining; did you mean 'recipe'"),
        (["pretrainings:recipe"], "No module named 'pretrainings'"),
        (["pretraining:card"], "gave Card, which is no recipe"),
        (["motionlab_tinny"], "no recipe 'motionlab_tinny'"),
        (["pretraining:recipe", "--set", "lrr=1"], "Recipe has no 'lrr'; did you mean 'lr'?"),
        (["pretraining:recipe", "--set", "lr=fast"], "pretraining:recipe: lr = 'fast' must be a number"),
        (["pretraining:recipe", "--set", "lr"], "--set lr: must be field=value"),
        (["pretraining:recipe", "--set", "lr=1", "--set", "lr:2"], "--set: lr is set twice"),
        (["pretraining:recipe", "--set", "seed=1", "--seed", "2"], "seed is set twice"),
        (["pretraining:recipe+lr"], "pretraining:recipe+lr: +lr has no value; write +lr=..."),
        (["pretraining:recipe", "--set", "batch=9", "--set", "accumulate=2"], "a batch of 9 cannot be divided"),
        (["pretraining:recipe", "--parallel", "dpp"], "did you mean 'ddp'"),
        (["pretraining:recipe", "--parallel", "fsdp"], "torchrun --nproc-per-node"),
        (["pretraining:recipe", "--mirror", "tensorbord"], "did you mean 'tensorboard'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_one_line_and_exit_code_2(arguments: list[str], message: str, tmp_path: Path) -> None:
    done = pretrain(*arguments, "-o", tmp_path / "run", code=2)
    assert message in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


def test_an_unknown_probing_dataset_raises_before_training(tmp_path: Path) -> None:
    done = vitascope(
        "pretrain", "pretraining:recipe", "-o", tmp_path / "run", "-q", "--check", "motionlab/moton", code=2
    )
    assert "did you mean" in done.stderr
    assert not losses_or_none(tmp_path / "run")


def losses_or_none(run: Path) -> dict[int, dict[str, float]]:
    """What was recorded, if anything was."""
    return losses(run) if (run / recording.RECORDER).is_file() else {}


def test_export_writes_the_encoder_of_the_last_checkpoint(tmp_path: Path) -> None:
    pretrain("pretraining:recipe", "-o", tmp_path / "run", "--stop-at", 4)
    (tmp_path / "run" / "model.safetensors").unlink()
    output = vitascope("export", tmp_path / "run").stdout
    encoder = load(str(tmp_path / "run"))
    assert encoder.card.name == "tiny-step4"
    assert encoder.card.digest in output
    vitascope("export", tmp_path / "run", "-o", tmp_path / "mine.safetensors")
    assert load(str(tmp_path / "mine.safetensors")).card == encoder.card
    assert (
        "-m and --to cannot be used with a pretraining run"
        in vitascope("export", tmp_path / "run", "-m", "x", "--to", "npy", code=2).stderr
    )
    assert "name it" in vitascope("export", tmp_path / "run", "-o", tmp_path / "folder", code=2).stderr


def test_export_of_a_dataset_needs_its_options(videos: Path) -> None:
    done = vitascope("export", videos, "-m", "pixels/thumbnail", code=2)
    assert "to export embeddings, add --to LAYOUT, -o FOLDER" in done.stderr


def torchrun(*arguments: object) -> subprocess.CompletedProcess[str]:
    """The command in two processes."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "vitascope"]
    source = Path(find_recipe.__file__).parents[2]
    env = {**os.environ, "PYTHONPATH": f"{source}{os.pathsep}{TESTS}", "OMP_NUM_THREADS": "1"}
    command = [*launch, "pretrain", *map(str, arguments), *PLAIN]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=300)


def test_under_torchrun_two_processes_train_and_one_prints(tmp_path: Path) -> None:
    done = torchrun("pretraining:recipe", "-o", tmp_path / "run", "--parallel", "fsdp")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("encoder: ") == 1
    train(tmp_path / "same")
    one, two = losses(tmp_path / "same"), losses(tmp_path / "run")
    for step in one:
        assert two[step] == pytest.approx(one[step], abs=1e-5, rel=0)


@pytest.mark.slow
def test_under_torchrun_an_error_is_printed_once(tmp_path: Path) -> None:
    train(tmp_path / "run")
    wrong = torchrun("pretraining:recipe", "-o", tmp_path / "run", "--set", "lr=1")
    assert wrong.returncode != 0
    assert wrong.stderr.count("error: ") == 1
    assert "a run of another recipe (lr was 0.003, is now 1.0)" in wrong.stderr


def test_every_recipe_has_a_line_and_a_file_that_builds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = vitascope("ls", "recipes").stdout
    for name, about_ in find_recipe.names().items():
        assert name in listed
        assert about_
    monkeypatch.setattr(find_recipe, "families", lambda: {"made_up": {"tiny_pixels": "one", "tiny_hog": "other"}})
    with pytest.raises(ValueError) as error:
        find_recipe.find("tiny_pixel")
    assert str(error.value).startswith("no recipe 'tiny_pixel'; did you mean 'tiny_pixels'?")


def test_a_family_builds_its_recipe_with_what_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []

    def build(name: str, *, data: Path | str, only: tuple[str, ...] = (), size: int = 24, **_: object) -> Recipe:
        given.append((name, data, only))
        return recipe(size=size)

    monkeypatch.setattr(find_recipe, "_builder", lambda name: (build, (name,)))
    made = find_recipe.find("x", {"data": "/data", "only": "a,b", "size": "48", "lr": "0.5", "shape.depth": "1"})
    assert [(name, str(data), only) for name, data, only in given] == [("x", "/data", ("a", "b"))]
    assert (made.size, made.lr, made.shape.depth) == (48, 0.5, 1)
    with pytest.raises(ValueError) as error:
        find_recipe.find("x")
    assert str(error.value) == "x needs data; give it with --set data=..."


def test_a_name_has_options_as_every_other_name_does() -> None:
    name = "motionlab_tiny_image+schedule=wsd+targets.image.weight=0.5+shape.dim=192"
    separate = {"schedule": "wsd", "targets.image.weight": "0.5", "shape.dim": "192"}
    assert find_recipe.find(name) == find_recipe.find("motionlab_tiny_image", separate)
    assert find_recipe.find(name, {"seed": "3"}) == find_recipe.find("motionlab_tiny_image", {**separate, "seed": "3"})
    with pytest.raises(ValueError, match="schedule is set twice"):
        find_recipe.find(name, {"schedule": "constant"})
    with pytest.raises(ValueError, match="did you mean 'lr'"):
        find_recipe.options("motionlab_tiny_image+lrr=1")
    for lacks_data in ("real_tiny_flow+lr=1", "twlv1_b+lr=1"):
        assert "data" in {row.name for row in find_recipe.options(lacks_data)[1]}
    defaults = {row.name: row.default for row in find_recipe.options(name)[1]}
    assert (defaults["schedule"], defaults["lr"]) == ("wsd", "0.001")


def test_fields_are_set_by_path_and_read_as_their_type() -> None:
    made = recipe()
    changes = {
        "steps": "1e3",
        "betas": "0.8, 0.99",
        "checkpointing": "yes",
        "precision": "bfloat16",
        "final_weight_decay": "0.1",
        "targets.latent.decay": "0.9,0.99",
        "targets.hog differences.weight": "2",
        "data.blobs.classes": "3",
        "shape.grid": "4,3,3",
    }
    new = changed(made, changes, "x")
    assert (new.steps, new.betas, new.checkpointing, new.precision) == (1000, (0.8, 0.99), True, "bfloat16")
    assert new.final_weight_decay == 0.1
    targets: list[Any] = list(new.targets)
    assert [t.weight for t in targets] == [1.0, 2.0, 1.0]
    assert targets[2].decay == (0.9, 0.99)
    source: Any = new.data[0][0]
    assert (source.classes, new.data[0][1], new.shape.grid) == (3, 1.0, (4, 3, 3))
    assert changed(new, {"final_weight_decay": "none"}, "x").final_weight_decay is None
    assert changed(made, {}, "x") == made


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": "1.5"}, "x: steps = '1.5' must be a whole number"),
        ({"checkpointing": "maybe"}, "must be true or false"),
        ({"precision": "float16"}, "did you mean 'bfloat16'"),
        ({"betas": "0.9"}, "must be 2 numbers, with commas"),
        ({"targets.pixel.weight": "1"}, "did you mean 'pixels'"),
        ({"targets.pixels.wieght": "1"}, "Pixels has no 'wieght'; did you mean 'weight'"),
        ({"targets": "x"}, "is not set as text"),
        ({"masks": "x"}, "is not set as text"),
        ({"shape": "x"}, "is not set as text"),
        ({"lr.x": "1"}, "float has no 'x'"),
        ({"lr": "-1"}, "recipe tiny: lr = -1.0 must be positive"),
    ],
    ids=str,
)
def test_invalid_fields_raise_in_one_line(changes: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError) as error:
        changed(recipe(), changes, "x")
    assert message in str(error.value)
    assert "\n" not in str(error.value)
