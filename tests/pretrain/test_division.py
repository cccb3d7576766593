"""Another number of processes goes on with what is left: nothing twice, nothing lost; several clips of one decode."""

import io
import json
import shutil
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from helpers import write_video
from vitascope.pretrain.data.base import ClipSource, ClipSpec, State
from vitascope.pretrain.data.division import divide_positions, positions
from vitascope.pretrain.data.folder import VideoFolder
from vitascope.pretrain.data.mixture import Mixture
from vitascope.pretrain.data.motionlab import MotionLab
from vitascope.pretrain.data.webdataset import Shards, _divided, _ShardOrder
from vitascope.sampling.names import Drawn, RandomClip, RandomCrop, Uniform

SPEC = ClipSpec(2, 16)
Item = tuple[tuple[int, ...], State]
"""What identifies a clip in all epochs, and the state after it."""
Read = Callable[[State, int, int], Iterator[Item]]
"""The items of a rank of so many from a state on."""
Merge = Callable[[Sequence[State], int, int], State]


def consume(read: Read, merge: Merge, starts: Sequence[State], worlds: Sequence[int], seed: int) -> list[list[Item]]:
    """Items read by changing numbers of processes, each of them another number of items, stage by stage."""
    rng, states, stages = np.random.default_rng(seed), list(starts), []
    for world in worlds:
        if len(states) != world:
            states = [merge(json.loads(json.dumps(states)), rank, world) for rank in range(world)]
        stage = []
        for rank in range(world):
            items = read(states[rank], rank, world)
            own = [next(items) for _ in range(int(rng.integers(0, 14)))]
            states[rank] = own[-1][1] if own else states[rank]
            stage += own
        stages.append(stage)
    # one process reads on until nothing up to the last place that anybody began can be missing
    last = max((item[0][0] for stage in stages for item in stage), default=0)
    rest = []
    for item in read(merge(states, 0, 1), 0, 1):
        rest.append(item)
        if frontier(item[1]) > last:
            break
    return [*stages, rest]


def frontier(state: State) -> int:
    """Of one process: all places below have been read; -1 while something is left over."""
    if "streams" in state:
        return state["streams"][0]["next"] if len(state["streams"]) == 1 else -1
    return -1 if "leftover" in state else state["taken"]


def whole(stages: list[list[Item]], places: int, clips: Callable[[int], int]) -> None:
    """Everything below a place was read once, nothing twice."""
    counts = Counter(item[0] for stage in stages for item in stage)
    assert set(counts.values()) == {1}
    assert {key for key in counts if key[0] < places} == {(p, n) for p in range(places) for n in range(clips(p))}


@pytest.fixture(scope="module")
def tars(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Five shards of 0 to 5 samples that nobody decodes."""
    root, paths = tmp_path_factory.mktemp("tars"), []
    for number, count in enumerate((3, 5, 0, 4, 1)):
        paths.append(str(root / f"{number}.tar"))
        with tarfile.open(paths[-1], "w") as tar:
            for i in range(count):
                info = tarfile.TarInfo(f"{i}.mp4")
                info.size = 3
                tar.addfile(info, io.BytesIO(b"abc"))
    return paths


@pytest.mark.parametrize("window", [1, 3, 128])
@pytest.mark.parametrize("repeat", [1, 2])
def test_shards_go_on_in_another_number_of_processes(window: int, repeat: int, tars: list[str]) -> None:
    source = Shards(pattern=tuple(tars), window=window, repeat=repeat)
    sizes = dict(zip(tars, (3, 5, 0, 4, 1), strict=True))
    order = _ShardOrder(source, tars, 7, 1)

    def read(state: State, rank: int, world: int) -> Iterator[Item]:
        for request in order._replace(world=world).requests(state, SPEC, {}):
            shard, number = request.seeds[-2:]
            for clip in range(request.given, repeat):
                yield (shard, number * repeat + clip), request.states[clip]

    for seed in range(4):
        worlds = [(2, 1, 3), (2, 2, 5, 1), (4, 3), (1, 6, 2)][seed]
        starts = [{"streams": [{"next": r, "step": worlds[0], "until": None}]} for r in range(worlds[0])]
        stages = consume(read, _divided, starts, worlds, seed)
        whole(stages, frontier(stages[-1][-1][1]), lambda shard: repeat * sizes[order.path(shard)])
    assert consume(read, _divided, starts, worlds, seed) == stages


@pytest.mark.parametrize("repeat", [1, 3])
def test_files_go_on_in_another_number_of_processes(repeat: int) -> None:
    """Also where processes are at different places, as after unreadable files."""

    def read(state: State, rank: int, world: int) -> Iterator[Item]:
        for place in positions(state, rank, world, repeat):
            for clip in range(place.given, repeat):
                yield (place.number, clip), place.states[clip]

    for seed in range(12):
        worlds = [(2, 1, 3), (2, 2, 5, 1), (4, 3), (1, 6, 2)][seed % 4]
        stages = consume(read, divide_positions, [{"taken": 0}] * worlds[0], worlds, seed)
        whole(stages, frontier(stages[-1][-1][1]), lambda place: repeat)


def test_in_step_files_are_divided_as_one_process_reads_them() -> None:
    """The global order of the clips does not depend on the number of processes, before and after."""
    states: list[State] = [{"taken": 0}] * 4
    taken = []
    for world in (4, 3, 2):
        states = [divide_positions(states, rank, world) for rank in range(world)]
        assert not any("leftover" in state for state in states)
        streams = [positions(state, rank, world) for rank, state in enumerate(states)]
        for _ in range(3):
            round_ = [next(stream) for stream in streams]
            taken += sorted(place.number for place in round_)
            states = [place.states[0] for place in round_]
    assert taken == list(range(3 * (4 + 3 + 2)))


def test_readers_of_two_processes_go_on_in_one_and_in_three(tmp_path: Path) -> None:
    """Through the mixture, as training does: files with one unreadable among them, and shards of them."""
    for i in range(7):
        write_video(tmp_path / "films" / f"{i}.mp4", np.full((3, 16, 16, 3), 10 + 30 * i, np.uint8))
    (tmp_path / "films" / "3.mp4").write_bytes(b"torn")
    for s in range(3):
        with tarfile.open(tmp_path / f"x-{s}.tar", "w") as tar:
            for i in range(2 * s, 2 * s + 2):
                tar.add(tmp_path / "films" / f"{i}.mp4", f"{i}.mp4")
    parts: list[ClipSource] = [
        VideoFolder(path=str(tmp_path / "films"), sampler=Uniform()),
        Shards(pattern=str(tmp_path / "x-*.tar"), sampler=Uniform(), window=2),
    ]
    mixture = Mixture(tuple((part, 1.0) for part in parts))
    seen: dict[str, list[int]] = {part.name: [] for part in parts}
    states: list[State] = []
    for world, steps in ((2, 4), (1, 2), (3, 6)):
        readers = [mixture.open(SPEC, seed=3, rank=rank, world=world) for rank in range(world)]
        for reader in readers if states else ():
            reader.restore(reader.merged(states))
        for reader in readers:
            for _ in range(steps):
                clips = reader.read(1)
                seen[clips.source] += [round((float(clip.float().mean()) - 10) / 30) for clip in clips.pixels]
        states = [json.loads(json.dumps(reader.state())) for reader in readers]
        for reader in readers:
            reader.close()
    # 6 clips of 6 readable files, then 9 of the next two epochs
    assert len(seen["films"]) == 14
    assert sorted(seen["films"][:5]) == sorted(set(seen["films"][:5]))
    assert set(seen["films"]) == {0, 1, 2, 4, 5, 6}
    assert set(seen["x"]) == {0, 1, 2, 4, 5}
    for state in states:
        state["parts"]["x"]["data"] = "other"
    with pytest.raises(ValueError, match="x: its data have changed"):
        mixture.open(SPEC, seed=3).merged(states)


@pytest.mark.parametrize("packed", [False, True])
def test_several_clips_of_one_decode(packed: bool, tmp_path: Path) -> None:
    """The first is that of a single one, the others are drawn anew; resumed bit for bit, by workers too."""
    rng = np.random.default_rng(0)
    for i in range(3):
        write_video(tmp_path / f"{i}.mp4", rng.integers(0, 255, (20, 24, 32, 3), np.uint8))
    draw = RandomCrop(RandomClip(2), flip=True)

    def source(repeat: int) -> ClipSource:
        if packed:
            return Shards(pattern=str(tmp_path / "x.tar"), sampler=draw, window=2, repeat=repeat)
        return VideoFolder(path=str(tmp_path), sampler=draw, repeat=repeat)

    if packed:
        with tarfile.open(tmp_path / "x.tar", "w") as tar:
            for path in sorted(tmp_path.glob("*.mp4")):
                tar.add(path, path.name)
    single, several = source(1).open(SPEC, seed=1), source(4).open(SPEC, seed=1)
    alone = single.read(6).pixels.numpy()
    batches = [several.read(3).pixels.numpy() for _ in range(8)]
    clips = np.concatenate(batches)
    assert np.array_equal(clips[::4], alone), "two epochs"
    assert len({clip.tobytes() for clip in clips}) == 24
    several.close()
    single.close()
    for stop in (1, 2, 5):
        first = source(4).open(SPEC, seed=1)
        for _ in range(stop):
            first.read(3)
        state = json.loads(json.dumps(first.state()))
        first.close()
        again = source(4).open(SPEC, seed=1, workers=1 if stop == 2 else 0)
        again.restore(state)
        assert np.array_equal([again.read(3).pixels.numpy() for _ in range(8 - stop)], batches[stop:])
        again.close()
    with pytest.raises(ValueError, match="repeat = 0 clips of a file; use 1 to 64"):
        source(0)
    with pytest.raises(ValueError, match="repeat = 2 clips of a file would be equal"):
        VideoFolder(path=str(tmp_path), sampler=Drawn(RandomClip(2), 4), repeat=2)


def test_motionlab_is_divided_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VITASCOPE_CACHE", str(tmp_path))
    source, spec = MotionLab(clips=9, quiet=True), ClipSpec(2, 16)
    alone = source.open(spec, seed=0).read(3 * 4 + 3 * 2).pixels.numpy()
    readers = [source.open(spec, seed=0, rank=rank, world=4) for rank in range(4)]
    for reader in readers:
        reader.read(3)
    states = [reader.state() for reader in readers]
    for rank in range(2):
        reader = source.open(spec, seed=0, rank=rank, world=2)
        reader.restore(reader.merged(states))
        assert np.array_equal(reader.read(3).pixels.numpy(), alone[12 + rank :: 2])
        reader.close()
    shutil.rmtree(tmp_path)
