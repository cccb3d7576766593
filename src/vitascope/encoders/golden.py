"""Small files in official layouts, with what the official code gives for them, run through the normal loader.

A folder of fixtures has an `index.json`, a list of cases. Each names its `checkpoint`, perhaps a transformers folder
`hf` of the same weights, the numbers of the small model (`architecture`), and an `io` file of arrays: inputs (`video`,
`image`, either with a suffix) and the outputs to be met, whose names end with the suffix of their input.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor

from vitascope.core.errors import UserError
from vitascope.core.text import nearest
from vitascope.encoders.base import Encoder
from vitascope.encoders.catalog import ENCODERS, models
from vitascope.encoders.load import load
from vitascope.encoders.spec import Model
from vitascope.encoders.weights import reader as checkpoint
from vitascope.encoders.weights.layouts import found
from vitascope.nn.configs.base import UnknownNumberError

LIMIT = 2e-5
"""Largest allowed difference, in standard deviations of the known output."""
SAME = {"openclip": ("dfn", "clip"), "videomaev2": ("videomae",)}
"""Families of the models that fixtures call otherwise."""
ANY = ("hf", "hf_image")
"""Words for a transformers model of whatever family; the case's variant says which."""
WORDS = {"s": "small", "b": "base", "l": "large", "h": "huge", "g": "giant", "reg": "registers", "reg4": "registers"}
"""Short words in names of variants, and what they stand for."""
NOT_OURS = {"attn_pooled": "not part of the encoder: the weights of the attentive probe are not in its file"}
"""Outputs that no encoder has, and why."""

Array: TypeAlias = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenResult:
    """One file of one case: how it was loaded, and how far each output is from the known one."""

    case: str
    encoder: str
    """`family/variant` that opened the file; empty where none did."""
    outputs: dict[str, float]
    """Largest difference of each output, in standard deviations of the known one (as it is where that is 0)."""
    coverage: str
    """How the weights came in, and what was not compared."""
    ok: bool
    why: str
    """What is wrong, in a line; empty where nothing is."""


def run(folder: str | Path, only: Iterable[str] = ()) -> list[GoldenResult]:
    """A row for each file of every case in `folder`, or of the cases named `only`.

    A case that cannot be judged is a row that is not ok. ValueError for a folder without cases, and for names in
    `only` that it does not have.
    """
    folder, only = Path(folder), tuple(only)
    cases = [(called(case, number), case) for number, case in enumerate(index(folder))]
    for name in set(only) - {name for name, _ in cases}:
        raise UserError(f"{folder}: no case {name!r}{nearest(name, [name for name, _ in cases])}")
    return [row for name, case in cases if not only or name in only for row in judged(folder, name, case)]


def table(rows: Sequence[GoldenResult]) -> str:
    """The rows as a table in Markdown: what is worst in each, and how far off."""
    lines = ["| case | encoder | worst output | largest difference | coverage |", "|---|---|---|---:|---|"]
    for row in rows:
        worst = max(row.outputs, key=lambda name: row.outputs[name], default="")
        apart = f"{row.outputs[worst]:.1e}" if worst else ""
        cells = (row.case, row.encoder, worst, apart, row.coverage if row.ok else f"**failed**: {row.why}")
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(lines) + "\n"


def index(folder: Path) -> list[Any]:
    """The cases of a folder of fixtures; ValueError where it has none."""
    file = folder / "index.json"
    try:
        cases = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: no list of cases ({error}); name a folder of fixtures with its index.json") from error
    if not isinstance(cases, list) or not cases:
        raise UserError(f"{file}: no cases; it is a list of objects with name, checkpoint, io and architecture")
    return cases


def called(case: Any, number: int) -> str:
    """The name of a case; without one its place in the list."""
    return str((isinstance(case, Mapping) and case.get("name")) or f"case {number}")


def judged(folder: Path, name: str, case: Any) -> list[GoldenResult]:
    """A row for the checkpoint of a case, and one for its transformers folder where it has one."""
    files = [case[key] for key in ("checkpoint", "hf") if case.get(key)] if isinstance(case, Mapping) else []
    if not files:
        return [failed(name, UserError("names no checkpoint"))]
    rows = []
    for file in files:
        label = f"{name} ({file})" if file == case.get("hf") else name
        try:
            rows.append(compared(folder, label, case, str(file)))
        except Exception as error:  # whatever goes wrong with a case is what there is to say of it
            rows.append(failed(label, error if isinstance(error, ValueError) else unforeseen(str(file), error)))
    return rows


def failed(case: str, error: ValueError) -> GoldenResult:
    """The row of a case that could not be judged."""
    why = next(iter(str(error).strip().splitlines()), "")
    return GoldenResult(case=case, encoder="", outputs={}, coverage="", ok=False, why=why)


def unforeseen(file: str, error: Exception) -> UserError:
    """An error of some other kind, with the file that it met."""
    return UserError(f"{file}: {type(error).__name__}: {error}")


def compared(folder: Path, label: str, case: Mapping[str, Any], file: str) -> GoldenResult:
    """Every known output of a case against what the encoder of `file` gives for its input."""
    io = str(case.get("io") or "")
    arrays = read(folder, io, case.get("arrays") or {})
    model, encoder, remark = opened(folder, case, file)
    given = {name: clips(array) for name, array in arrays.items() if is_input(name, array)}
    known = {name: array for name, array in arrays.items() if name not in given}
    if not given or not known:
        raise UserError(f"{io}: no {'outputs' if given else 'video or image'} among {', '.join(arrays)}")
    main = main_of(given, still=model.framewise and "image" in given and arrays["image"].ndim == 4)
    asked = {name: asked_of(name, given, main) for name in known}
    answers = {name: answered(encoder, given[name]) for name in {of for of, _ in asked.values()}}
    notes: list[str] = [encoder.loaded, remark]  # type: ignore[attr-defined]
    outputs: dict[str, float] = {}
    wrong = []
    for name, (of, base) in asked.items():
        if base in NOT_OURS:
            notes.append(f"{name} is {NOT_OURS[base]}")
            continue
        apart, problem = judge(answers[of], (base, name), known[name])
        outputs |= {name: apart} if math.isfinite(apart) else {}
        wrong += [f"{name} {problem}"] if problem else []
    if not outputs and not wrong:
        wrong = ["nothing to compare"]
    coverage, why = "; ".join(filter(None, notes)), "; ".join(wrong)
    return GoldenResult(case=label, encoder=model.card.name, outputs=outputs, coverage=coverage, ok=not wrong, why=why)


def read(folder: Path, io: str, listed: Iterable[str]) -> dict[str, Array]:
    """The arrays of an `.npz`; ValueError where it is none, or lacks what the index lists."""
    if not io:
        raise UserError("names no io file")
    try:
        with np.load(folder / io, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except Exception as error:  # zip files fail with errors of their own
        raise UserError(f"{io}: no readable arrays ({error})") from error
    if missing := [name for name in listed if name not in arrays]:
        raise UserError(f"{io}: lacks {', '.join(missing)}, which the index lists")
    return arrays


def is_input(name: str, array: Array) -> bool:
    """Whether an array is pixels to give, not an output: a `video` or `image` with three channels first or last."""
    return name.startswith(("video", "image")) and array.ndim in (4, 5) and 3 in (array.shape[1], array.shape[-1])


def clips(array: Array) -> Float[Tensor, "n 3 t y x"]:
    """Pixels as encoders read them; channels may come last, and an image is a clip of one frame."""
    pixels = torch.from_numpy(array).float()
    pixels = pixels.movedim(-1, 1) if pixels.shape[-1] == 3 else pixels
    return (pixels if pixels.ndim == 5 else pixels[:, :, None]).contiguous()


def main_of(given: Mapping[str, Tensor], *, still: bool) -> str:
    """The input that an output without a suffix belongs to: `image` for an image model that has it as one."""
    first = ("image", "video") if still else ("video", "image")
    return next(name for name in (*first, *given) if name in given)


def asked_of(output: str, given: Iterable[str], main: str) -> tuple[str, str]:
    """The input that an output belongs to, and the output's name without the suffix that says so."""
    suffixes = {f"_{name}": name for name in given}
    suffixes |= {name[5:]: name for name in sorted(given, key=lambda name: name[:5] == main[:5]) if len(name) > 5}
    end = max((word for word in suffixes if output.endswith(word)), key=len, default="")
    return (suffixes[end], output.removesuffix(end)) if end else (main, output)


def answered(encoder: Encoder, clips: Float[Tensor, "n 3 t y x"]) -> dict[str, list[Tensor]]:
    """What an encoder says of clips, by name; what its call returns stands beside the network's own account of it.

    What a model without a pooling says is its whole sequence, under whatever name (PE-Lang, PE-Spatial).
    """
    returned = encoder(clips)
    said = {name: [part] for name, part in encoder.parts(clips).items()}  # type: ignore[attr-defined]
    also = {"tokens": [returned.grid], "pooled": [returned.clip]}
    if sequence := said.get("sequence"):
        also |= {name: [*also.get(name, []), *sequence] for name in ("tokens", "pooled", "pooled_noproj")}
    return said | {name: [*said.get(name, []), *more] for name, more in also.items()}


def judge(said: Mapping[str, list[Tensor]], names: tuple[str, str], known: Array) -> tuple[float, str]:
    """How far the output called by one of `names` is from the known one, and what is wrong with that, if anything."""
    name = next((name for name in names if name in said), "")
    if not name:
        return math.inf, f"is not given{nearest(names[0], said)}; there are {', '.join(sorted(said))}"
    fit = [ours.numpy().reshape(known.shape) for ours in said[name] if same_but_flat(ours.shape, known.shape)]
    if not fit:
        shapes = " or ".join(dict.fromkeys(" x ".join(map(str, ours.shape)) for ours in said[name]))
        return math.inf, f"is {shapes}, not {' x '.join(map(str, known.shape))}"
    apart = max(difference(ours, known) for ours in fit)
    return apart, "" if apart <= LIMIT else f"is {apart:.2g} standard deviations off (limit {LIMIT:g})"


def same_but_flat(ours: Sequence[int], known: Sequence[int]) -> bool:
    """Whether shapes differ only by axes that are merged, or of length one; the channels come last in both."""
    return math.prod(ours) == math.prod(known) and ours[-1] == known[-1]


def difference(ours: Array, known: Array) -> float:
    """Largest difference in standard deviations of `known`, as it is where that is 0; infinite for NaN, and for whole
    numbers that are not equal."""
    if known.dtype.kind in "iub":
        return 0.0 if np.array_equal(ours, known) else math.inf
    apart = float(np.abs(ours.astype(np.float64) - known).max())
    apart /= float(known.std(dtype=np.float64)) or 1.0
    return apart if apart == apart else math.inf


def opened(folder: Path, case: Mapping[str, Any], file: str) -> tuple[Model, Encoder, str]:
    """The encoder of a case's file: of the model that its words say, else of another of the family that opens it.

    The last is a remark where it was another. The error of the likeliest where none does.
    """
    path, architecture = folder / file, dict(case.get("architecture") or {})
    if not path.exists():
        raise UserError(f"{file}: no such file")
    likely = candidates(architecture, called(case, 0))
    content = checkpoint.read(path).content
    marked = [model for model in likely if opens(model, content)] or likely[:1]
    errors: list[Exception] = []
    for model in marked:
        try:
            numbers, unread = understood(model, configured(model, folder, case) | architecture)
            encoder = load(f"{model.card.name}={path}", architecture=numbers)
        except Exception as error:  # of the likeliest it is told below
            errors.append(error)
        else:
            remarks = [] if model is likely[0] else [f"not {likely[0].card.name}, the likeliest by name"]
            remarks += [f"not understood in the index: {', '.join(unread)}"] if unread else []
            return model, encoder, "; ".join(remarks)
    raise errors[0]


def understood(model: Model, numbers: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The numbers that the shape knows, and the names of the others: were one needed, the outputs would show."""
    known, unread = dict(numbers), list[str]()
    while True:
        try:
            model.shape.told(known)
        except UnknownNumberError as error:
            unread.append(error.key)
            del known[error.key]
        else:
            return known, unread


def candidates(architecture: Mapping[str, Any], name: str) -> list[Model]:
    """Every model of the family that a case is of, those first whose names share most words with it.

    Of equals, those that share most with the model's name, and then those that say least else.
    """
    word = str(architecture.get("model") or name)
    variant = str(architecture.get("variant") or "")
    families = families_of(variant if word in ANY else word)
    asked = words_of(f"{word} {variant}") | ({"registers"} if architecture.get("registers") else set())

    def unlike(model: Model) -> tuple[int, int, int]:
        own = words_of(model.card.name.partition("/")[2])
        return -len(own & asked), -len(own & words_of(word)), len(own - asked)

    return [model for family in families for model in sorted(models(family).values(), key=unlike)]


def families_of(model: str) -> tuple[str, ...]:
    """The families that the longest start of a model's name means: `clip_l14` is of `clip`; ValueError where none."""
    known = {family.replace("_", ""): family for family in ENCODERS.families() if models(family)}
    words = re.split(r"[^a-z0-9]+", model.lower())
    for count in range(len(words), 0, -1):
        start = "".join(words[:count])
        if start in known:
            return (known[start],)
        if families := tuple(family for family in SAME.get(start, ()) if family in known.values()):
            return families
    raise UserError(f"no encoder family for model {model!r}{nearest(model, known)}; there are {', '.join(known)}")


def words_of(text: str) -> set[str]:
    """The words of a variant's name, sizes in full: `v2_l14_reg` is of v2, large, 14 and registers, `s16plus` of small,
    16 and plus, `7b16` of 7b and 16."""
    found = set()
    apart = re.sub(r"(?<=\d)(?=plus|reg)|(?<=\d[bm])(?=\d)|(?<=vit)(?=\d)", " ", text.lower())
    for word in re.findall(r"[a-z0-9]+", apart):
        size = re.fullmatch(r"(?:vit)?([sblhg])(\d{2,3})?", word)
        found |= {word, WORDS.get(word, word)} | ({WORDS[size[1]], size[2] or ""} if size else set())
    return found - {""}


def opens(model: Model, content: Any) -> bool:
    """Whether a file bears the mark of one of the model's layouts."""
    hit = found(model.layouts, content)
    return hit is not None and not hit[0].refused


def configured(model: Model, folder: Path, case: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers in the config.json of a case's transformers folder, for files that come without one."""
    config = folder / str(case.get("hf") or "") / "config.json"
    if not case.get("hf") or not model.from_config or not config.is_file():
        return {}
    return dict(model.from_config(json.loads(config.read_text(encoding="utf-8"))))
