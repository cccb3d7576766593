"""What goes wrong in a run stops it with a line that says what, and leaves what was good; out comes an encoder."""

import errno
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import pretraining
from helpers import write_video
from pretraining import Blobs, copied, everything, losses, recipe, same, state, train
from vitascope.core.log import on_stderr
from vitascope.core.types import Score
from vitascope.datasets.builders import motionlab
from vitascope.encoders.load import load
from vitascope.motionlab.suite import Size
from vitascope.pretrain import checkpoint as saving
from vitascope.pretrain import export
from vitascope.pretrain import train as loop
from vitascope.pretrain.data.folder import VideoFolder
from vitascope.pretrain.masking import Tube
from vitascope.pretrain.model import Student
from vitascope.pretrain.monitoring import log as recording
from vitascope.pretrain.monitoring.probing import InLoopProbing, ProbingConfig, ProbingResult
from vitascope.pretrain.targets.targets import Distilled, FixedTarget, Labels, Pixels, Target, TargetInputs


def stopped(run: Path, made: Any = None, **setting: Any) -> str:
    """The line that a run ends with."""
    with pytest.raises(ValueError) as error:
        train(run, made, **setting)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of six steps, to be copied."""
    run = tmp_path_factory.mktemp("whole") / "run"
    train(run)
    return run


@dataclass(frozen=True, kw_only=True)
class Failing(Target):
    """Zeros, and from a call on something else; the first counts operations, before the first step."""

    name: str = "faulty"
    after: int = 5
    becomes: float = math.nan

    def bind(self, student: Student, device: torch.device) -> FixedTarget:
        """Counts its calls."""
        calls: list[int] = []

        def values(inputs: TargetInputs) -> torch.Tensor:
            calls.append(1)
            return torch.full((len(inputs.patches), 18, 1), self.becomes if len(calls) > self.after else 0.0)

        return FixedTarget(1, values)


def test_a_loss_gone_nan_stops_the_run_and_names_the_target(tmp_path: Path) -> None:
    made = recipe(targets=(Pixels(width=16, depth=1), Failing(width=16, depth=1)))
    message = stopped(tmp_path, made)
    assert "stopped at step 6: steps 5 and 6 could not be used: the loss of faulty is not finite" in message
    assert "nor is the target of faulty: check its teacher" in message
    assert "the checkpoint of step 4 is kept" in message
    assert all(torch.isfinite(t).all() for t in state(tmp_path, 4, tmp_path).values())
    (alarm,) = recording.read(tmp_path).alarms
    assert alarm["step"] == 6
    assert "faulty" in alarm["why"]
    path, card = export.export_run(tmp_path, tmp_path / "good.safetensors")
    assert load(str(path)).card.digest == card.digest


def test_the_resumed_checkpoint_is_named_if_the_next_step_fails(tmp_path: Path) -> None:
    made = recipe(targets=(Pixels(width=16, depth=1), Failing(width=16, depth=1)))
    train(tmp_path, made, stop_at=4)
    assert [saving.step_of(p) for p in saving.list_checkpoints(tmp_path)] == [2, 4]
    (tmp_path / loop.RECIPE).unlink()
    message = stopped(tmp_path, recipe(targets=(Pixels(width=16, depth=1), Failing(width=16, depth=1, after=0))))
    assert "stopped at step 6" in message
    assert "the checkpoint of step 4 is kept; see" in message


def test_a_gradient_gone_infinite_is_not_applied(tmp_path: Path) -> None:
    """The slope of a square root at 0."""
    steep = Steep(name="steep", width=16, depth=1, becomes=1.0)
    message = stopped(tmp_path, recipe(targets=(Pixels(width=16, depth=1), steep)))
    assert "the gradient is not finite, although every loss is" in message
    assert all(torch.isfinite(t).all() for t in state(tmp_path, 4, tmp_path).values())


@dataclass(frozen=True, kw_only=True)
class Steep(Failing):
    """A loss that is 0, by a slope that is infinite."""

    def loss(self, predicted: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Finite everywhere."""
        return (predicted * 0 * target.mean()).abs().sum().sqrt() if target.any() else predicted.square().mean()


def test_a_teacher_that_gives_nan_is_named(tmp_path: Path) -> None:
    target = Distilled(name="void", teacher="pretraining:teacher_of_nothing", width=16, depth=1)
    message = stopped(tmp_path, recipe(targets=(target,)))
    assert "stopped at step 2: steps 1 and 2 could not be used: the loss of void is not finite" in message
    assert "nor is the target of void" in message
    assert "no checkpoint was written yet" in message


def collapsing(run: Path, patch: pytest.MonkeyPatch, ranks: list[float], **setting: int) -> str:
    """What a run is stopped with whose check-up after each step finds the next of `ranks`."""
    result, coming = ProbingResult({"suite knn": Score(10.0, 5.0, 15.0)}, {}, {}, 0.0, 0.5, {}), iter(ranks)
    patch.setattr(InLoopProbing, "__init__", lambda self, *_: setattr(self, "broken", {}))
    patch.setattr(InLoopProbing, "__call__", lambda *_: result._replace(effective_rank=next(coming)))
    return stopped(run, check_every=1, probing=ProbingConfig(suites=()), **setting)


def test_collapsed_features_stop_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    message = collapsing(tmp_path, monkeypatch, [5.0, 1.2, 1.1], log_every=100)
    assert "stopped at step 3: collapsed: 2 consecutive probings" in message
    assert "effective rank 1.1" in message
    assert [saving.step_of(p) for p in saving.list_checkpoints(tmp_path)] == [2]


def test_checkpoints_before_a_collapse_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    message = collapsing(tmp_path, monkeypatch, [5.0, 5.0, 1.2, 1.1], save_every=1)
    assert "the checkpoint of step 2 is kept; to resume from it, remove the later ones (step 3)" in message
    assert [saving.step_of(p) for p in saving.list_checkpoints(tmp_path)] == [2, 3]


def test_lines_hold_the_mean_of_their_steps_and_that_of_each_source(tmp_path: Path) -> None:
    every, some = tmp_path / "every", tmp_path / "some"
    train(every, everything(), save_every=6)
    train(some, everything(), log_every=3, save_every=6)
    alone = {line["step"]: line for line in recording.read(every).steps}
    for line in recording.read(some).steps:
        steps = [alone[s] for s in range(line["step"] - 2, line["step"] + 1)]
        for name, value in line["losses"].items():
            assert value == pytest.approx(np.mean([s["losses"][name] for s in steps]))
        assert line["loss"] == pytest.approx(np.mean([s["loss"] for s in steps]))
        for source, means in line["by_source"].items():
            pixel_losses = [s["losses"]["pixels"] for s in steps if list(s["by_source"]) == [source]]
            assert means["pixels"] == pytest.approx(np.mean(pixel_losses))


def test_a_weight_that_rises_is_no_divergence(tmp_path: Path) -> None:
    rising = Pixels(width=16, depth=1, weight=0.01, final_weight=100.0)
    train(tmp_path / "run", recipe(targets=(rising,), steps=40), log_every=1, save_every=40)
    lines = recording.read(tmp_path / "run").steps
    assert [line["step"] for line in lines] == list(range(1, 41))
    for line in lines:
        assert line["loss"] == pytest.approx(100 * line["losses"]["pixels"])
    assert lines[-1]["grad_norm"] > 50 * lines[0]["grad_norm"]


def test_a_teacher_with_other_weights_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = recipe(targets=(Distilled(name="films", teacher="pretraining:teacher", width=16, depth=1),))
    train(tmp_path, made, stop_at=2)
    original = pretraining.card
    monkeypatch.setattr(pretraining, "card", lambda **changes: original(**{**changes, "digest": "ffff"}))
    with pytest.raises(ValueError, match=r"the digest of teacher .* was .*, is now ffff; restore its weights"):
        train(tmp_path, made)


def test_probing_logs_scores_and_target_similarity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(motionlab, "SIZES", {"tiny": Size(24, 12)})
    train(tmp_path, check_every=4, probing=ProbingConfig(suites=("motionlab/still-tiny",), probes=("knn",), limit=12))
    probes = recording.read(tmp_path).probes
    assert [p["step"] for p in probes] == [4, 6]
    assert list(probes[0]["scores"]) == ["motionlab/still-tiny knn"]
    assert list(probes[0]["similarity"]) == ["pixels", "hog differences", "latent"]
    assert 1 < probes[0]["effective_rank"] < 32
    assert probes[0]["token_std"] > 0


def test_a_full_disk_leaves_the_checkpoint_before(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = saving.write_state
    calls: list[Path] = []

    def half(given: Any, *, checkpoint_id: Path, **named: Any) -> Any:
        calls.append(checkpoint_id)
        if len(calls) < 2:
            return write(given, checkpoint_id=checkpoint_id, **named)
        checkpoint_id.mkdir()
        (checkpoint_id / "__0_0.distcp").write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(saving, "write_state", half)
        with pytest.raises(OSError) as error:
            train(tmp_path)
    message = str(error.value)
    assert "step-000000004: the checkpoint could not be written" in message
    assert "No space left on device" in message
    assert "the one of step 2 is intact" in message
    assert "\n" not in message
    assert not list((tmp_path / saving.FOLDER).glob(".*"))
    train(tmp_path)
    assert losses(tmp_path) == losses(whole)


def test_the_disk_itself_refusing_is_one_line_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Inside torch's own writer, where errors of all processes are gathered."""

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("torch.distributed.checkpoint.filesystem.torch.save", refuse)
    with pytest.raises(OSError) as error:
        train(tmp_path)
    assert "No space left on device" in str(error.value)
    assert "there is no earlier one" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("part", ["data", "metadata", "state"])
def test_a_truncated_checkpoint_warns_and_the_previous_one_is_used(
    part: str, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = copied(whole, tmp_path / "run")
    last = run / saving.FOLDER / "step-000000006"
    spoilt = {"data": next(last.glob("*.distcp")), "metadata": last / ".metadata", "state": last / saving.STATE}[part]
    spoilt.write_bytes(spoilt.read_bytes()[: spoilt.stat().st_size // 2])
    with on_stderr():
        train(run)
    assert f"warning: {last}: cannot be loaded" in capsys.readouterr().err
    assert same(state(run, 6, tmp_path), state(whole, 6, tmp_path))
    assert losses(run) == losses(whole)


def test_with_all_checkpoints_damaged_it_does_not_start_over(whole: Path, tmp_path: Path) -> None:
    run = copied(whole, tmp_path / "run")
    for checkpoint in saving.list_checkpoints(run):
        next(checkpoint.glob("*.distcp")).write_bytes(b"")
    message = stopped(run)
    assert "step-000000006: cannot be loaded (__0_0.distcp has 0 of" in message
    assert f"remove {run / saving.FOLDER} to start over" in message


def test_the_folder_of_another_recipe_raises(whole: Path, tmp_path: Path) -> None:
    run = copied(whole, tmp_path / "run")
    message = stopped(run, recipe(lr=1e-2, masks=(Tube(0.5),)))
    assert "a run of another recipe (lr was 0.003, is now 0.01, masks" in message
    assert "-o" in message
    assert losses(run) == losses(whole)


def test_no_video_readable(tmp_path: Path) -> None:
    videos = tmp_path / "videos"
    videos.mkdir()
    for i in range(3):
        (videos / f"{i}.mp4").write_bytes(b"no video at all")
    message = stopped(tmp_path / "run", recipe(data=((VideoFolder(path=str(videos)), 1.0),)))
    assert "none of its 3 videos is readable" in message


def test_broken_videos_are_skipped_and_listed(tmp_path: Path) -> None:
    videos = tmp_path / "videos"
    rng = np.random.default_rng(0)
    for i in range(3):
        write_video(videos / f"{i}.mp4", rng.integers(255, size=(12, 48, 48, 3), dtype=np.uint8))
    (videos / "bad.mp4").write_bytes(b"no video at all")
    train(tmp_path / "run", recipe(data=((VideoFolder(path=str(videos)), 1.0),), steps=2))
    listed = json.loads((tmp_path / "run" / loop.BROKEN).read_text())
    assert list(listed) == ["videos: bad.mp4"]
    assert [line["broken"] for line in recording.read(tmp_path / "run").steps][-1] == 1


def test_label_targets_need_a_labeled_source(tmp_path: Path) -> None:
    assert "target labels: labels from -1" in stopped(tmp_path, recipe(targets=(Labels(classes=3),)))


@pytest.mark.parametrize("wrong", [{"save_every": 0}, {"log_every": 0}, {"stop_at": -1}], ids=str)
def test_invalid_config_raises(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError) as error:
        loop.TrainConfig(**wrong)
    assert str(error.value).startswith(f"{next(iter(wrong))} = ")


def test_the_exported_encoder_is_the_trunk_with_a_card(tmp_path: Path) -> None:
    target = Distilled(name="films", teacher="pretraining:teacher", width=16, depth=1)
    made = recipe(targets=(target, *recipe().targets), data=((Blobs(pretraining_datasets=("blobs", "more")), 1.0),))
    out = train(tmp_path, made, command="vitascope pretrain tiny")
    encoder: Any = load(str(tmp_path))
    assert encoder.card.pretraining_datasets == {"blobs", "more", "films"}
    assert (encoder.card.name, encoder.card.frames, encoder.card.size, encoder.card.dim) == ("tiny", 4, 24, 32)
    trained = state(tmp_path, 6, tmp_path)
    for name, tensor in encoder.network.named_parameters():
        torch.testing.assert_close(tensor, trained[f"/model/{export.TRUNK}{name}"].half().float(), atol=0, rtol=0)
    from vitascope.encoders.weights.native_card import read_metadata

    origin = read_metadata(out).origin
    assert (origin["step"], origin["seen"], origin["command"]) == (6, 48, "vitascope pretrain tiny")
    assert origin["recipe"]["lr"] == made.lr


def test_the_name_of_an_unfinished_encoder_has_the_step(tmp_path: Path) -> None:
    train(tmp_path, stop_at=3)
    path, card = export.export_run(tmp_path, tmp_path / "exported.safetensors")
    assert card.name == "tiny-step3"
    assert load(str(path)).card.digest == load(str(tmp_path)).card.digest == card.digest
    with pytest.raises(ValueError) as error:
        export.export_run(tmp_path / "nothing")
    assert "no checkpoint found" in str(error.value)


def test_the_moving_average_is_exported(whole: Path, tmp_path: Path) -> None:
    run = copied(whole, tmp_path / "run")
    path, card = export.export_run(run, ema="latent")
    assert (path, card.name) == (run / "model-ema.safetensors", "tiny-ema")
    averaged = state(run, 6, tmp_path)
    encoder: Any = load(str(path))
    for name, tensor in encoder.network.named_parameters():
        expected = averaged[f"/model/slow.latent.student.trunk.{name}"]
        torch.testing.assert_close(tensor, expected.half().float(), atol=0, rtol=0)
    assert load(str(run)).card.digest != card.digest
    with pytest.raises(ValueError, match=r"target 'latnt' keeps no moving average .* did you mean 'latent'"):
        export.export_run(run, ema="latnt")


def test_without_a_latent_target_there_is_no_moving_average(tmp_path: Path) -> None:
    train(tmp_path, recipe(targets=(Pixels(width=16, depth=1),)), stop_at=1)
    with pytest.raises(ValueError, match="only Latent targets do, and the recipe has none"):
        export.export_run(tmp_path, ema="latent")


def test_bfloat16_is_near_float32(whole: Path, tmp_path: Path) -> None:
    train(tmp_path / "b", recipe(precision="bfloat16"), save_every=6)
    one, other = losses(whole), losses(tmp_path / "b")
    assert other[6]["pixels"] == pytest.approx(one[6]["pixels"], abs=0.02)
    if loop.optim.has_bfloat16(torch.device("cpu")):
        assert other[6]["pixels"] != one[6]["pixels"]


def test_pretraining_is_learning(tmp_path: Path) -> None:
    made = recipe(steps=60, batch=16, targets=(Pixels(width=16, depth=1, normalized=False),), lr=1e-2)
    train(tmp_path, made, save_every=60)
    result = losses(tmp_path)
    assert result[60]["pixels"] < 0.7 * result[1]["pixels"]
    assert pretraining.card().frames == 4


def test_probing_on_a_folder_skips_unreadable_clips(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for split, count in (("train", 4), ("val", 2)):
        for label, level in (("dark", 20), ("light", 220)):
            for i in range(count):
                frames = rng.integers(level, level + 20, (4, 24, 24, 3)).astype(np.uint8)
                (tmp_path / "data" / split / label).mkdir(parents=True, exist_ok=True)
                write_video(tmp_path / "data" / split / label / f"{i}.mp4", frames)
    torn = tmp_path / "data" / "val" / "dark" / "0.mp4"
    torn.write_bytes(torn.read_bytes()[:100])
    train(tmp_path / "run", check_every=6, probing=ProbingConfig(suites=(str(tmp_path / "data"),), probes=("knn",)))
    (line,) = recording.read(tmp_path / "run").probes
    ((name, score),) = line["scores"].items()
    assert name.endswith(" knn")
    assert score["value"] in [pytest.approx(100 * k / 3) for k in range(4)], "three of four test clips are readable"
    assert score["chance"] == 50


def test_a_run_that_cannot_start_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="did you mean 'motionlab/motion'"):
        train(tmp_path / "run", check_every=6, probing=ProbingConfig(suites=("motionlab/moton",)))
    assert not (tmp_path / "run").exists()
