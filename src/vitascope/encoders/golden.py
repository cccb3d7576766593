"""Golden tests: load small files in official layouts and compare the outputs with those of the official code.

A folder of fixtures has an `index.json`, a list of cases. Each names its `checkpoint`, optionally a transformers folder
`hf` of the same weights, the configuration of the small model (`architecture`), and an `io` file of arrays: inputs
(`video`, `image`, optionally with a suffix) and reference outputs, whose names end with the suffix of their input.
"""

from __future__ import annotations

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

from vitascope.core.arrays import read_arrays as load_arrays
from vitascope.core.errors import UserError, first_line
from vitascope.core.files import read_json
from vitascope.core.text import nearest
from vitascope.encoders.base import Encoder
from vitascope.encoders.catalog import ENCODERS, models
from vitascope.encoders.load import load
from vitascope.encoders.spec import Model
from vitascope.encoders.weights import reader as checkpoint
from vitascope.encoders.weights.layouts import find_layout
from vitascope.nn.configs.base import UnknownNumberError

LIMIT = 2e-5
"""Largest allowed difference, in standard deviations of the reference output."""
SAME = {"openclip": ("dfn", "clip"), "videomaev2": ("videomae",)}
"""Families by other names used in fixtures."""
ANY = ("hf", "hf_image")
"""Names for a transformers model of any family, which the variant of the case specifies."""
WORDS = {"s": "small", "b": "base", "l": "large", "h": "huge", "g": "giant", "reg": "registers", "reg4": "registers"}
"""Abbreviations in names of variants."""
NOT_OURS = {"attn_pooled": "not part of the encoder: the weights of the attentive probe are not in its file"}
"""Reference outputs that are not compared, with the reason."""

Array: TypeAlias = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenResult:
    """The result of one file of a case: how it was loaded, and the difference of each output from its reference."""

    case: str
    encoder: str
    """`family/variant` that loaded the file; empty if none did."""
    outputs: dict[str, float]
    """Largest difference of each output, in standard deviations of its reference (absolute if that is constant)."""
    coverage: str
    """How the weights were loaded, and which outputs were not compared."""
    ok: bool
    why: str
    """Reason of the failure in one line; empty if the case passed."""


def run(folder: str | Path, only: Iterable[str] = ()) -> list[GoldenResult]:
    """Run every case in `folder`, or those named in `only`; one result per file.

    An error in a case gives a failed result. Raises `UserError` for a folder without cases and for unknown names.
    """
    folder, only = Path(folder), tuple(only)
    cases = [(case_name(case, number), case) for number, case in enumerate(index(folder))]
    for name in set(only) - {name for name, _ in cases}:
        raise UserError(f"{folder}: no case {name!r}{nearest(name, [name for name, _ in cases])}")
    return [row for name, case in cases if not only or name in only for row in compare_case(folder, name, case)]


def table(rows: Sequence[GoldenResult]) -> str:
    """The results as a Markdown table with the worst output of each."""
    lines = ["| case | encoder | worst output | largest difference | coverage |", "|---|---|---|---:|---|"]
    for row in rows:
        worst = max(row.outputs, key=lambda name: row.outputs[name], default="")
        error = f"{row.outputs[worst]:.1e}" if worst else ""
        cells = (row.case, row.encoder, worst, error, row.coverage if row.ok else f"**failed**: {row.why}")
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(lines) + "\n"


def index(folder: Path) -> list[Any]:
    """The cases of a folder of fixtures; `UserError` if there are none."""
    file = folder / "index.json"
    if not file.exists():
        raise UserError(f"{file}: no list of cases; name a folder of fixtures with its index.json")
    cases = read_json(file, "name a folder of fixtures with its index.json")
    if not isinstance(cases, list) or not cases:
        raise UserError(f"{file}: no cases; expected a list of objects with name, checkpoint, io and architecture")
    return cases


def case_name(case: Any, number: int) -> str:
    """The name of a case, or its position in the list."""
    return str((isinstance(case, Mapping) and case.get("name")) or f"case {number}")


def compare_case(folder: Path, name: str, case: Any) -> list[GoldenResult]:
    """The results of the checkpoint of a case and of its transformers folder, if any."""
    files = [case[key] for key in ("checkpoint", "hf") if case.get(key)] if isinstance(case, Mapping) else []
    if not files:
        return [failed_result(name, UserError("names no checkpoint"))]
    rows = []
    for file in files:
        label = f"{name} ({file})" if file == case.get("hf") else name
        try:
            rows.append(compare_file(folder, label, case, str(file)))
        except Exception as error:  # any exception is the result of the case
            rows.append(
                failed_result(label, error if isinstance(error, UserError) else unexpected_error(str(file), error))
            )
    return rows


def failed_result(case: str, error: UserError) -> GoldenResult:
    """The result of a case that could not be compared."""
    return GoldenResult(case=case, encoder="", outputs={}, coverage="", ok=False, why=str(error))


def unexpected_error(file: str, error: Exception) -> UserError:
    """Another exception as a `UserError` that names the file."""
    return UserError(f"{file}: {type(error).__name__}: {first_line(error)}")


def compare_file(folder: Path, label: str, case: Mapping[str, Any], file: str) -> GoldenResult:
    """Compare every reference output of a case with that of the encoder loaded from `file`."""
    io = str(case.get("io") or "")
    arrays = read_arrays(folder, io, case.get("arrays") or {})
    model, encoder, remark = open_case(folder, case, file)
    inputs = {name: clips(array) for name, array in arrays.items() if is_input(name, array)}
    references = {name: array for name, array in arrays.items() if name not in inputs}
    if not inputs or not references:
        raise UserError(f"{io}: no {'outputs' if inputs else 'video or image'} among {', '.join(arrays)}")
    main = main_input(inputs, still=model.framewise and "image" in inputs and arrays["image"].ndim == 4)
    sources = {name: input_of(name, inputs, main) for name in references}
    computed = {name: outputs_of(encoder, inputs[name]) for name in {source for source, _ in sources.values()}}
    notes: list[str] = [encoder.loaded, remark]  # type: ignore[attr-defined]
    outputs: dict[str, float] = {}
    wrong = []
    for name, (source, base) in sources.items():
        if base in NOT_OURS:
            notes.append(f"{name} is {NOT_OURS[base]}")
            continue
        error, problem = compare_output(computed[source], (base, name), references[name])
        outputs |= {name: error} if math.isfinite(error) else {}
        wrong += [f"{name} {problem}"] if problem else []
    if not outputs and not wrong:
        wrong = ["nothing to compare"]
    coverage, why = "; ".join(filter(None, notes)), "; ".join(wrong)
    return GoldenResult(case=label, encoder=model.card.name, outputs=outputs, coverage=coverage, ok=not wrong, why=why)


def read_arrays(folder: Path, io: str, listed: Iterable[str]) -> dict[str, Array]:
    """The arrays of an `.npz` file; `UserError` if it is unreadable or lacks arrays listed in the index."""
    if not io:
        raise UserError("names no io file")
    try:
        arrays = load_arrays(folder / io, "make the fixtures again")
    except (UserError, OSError) as error:
        raise UserError(f"{io}: no readable arrays ({error})") from error
    if missing := [name for name in listed if name not in arrays]:
        raise UserError(f"{io}: lacks {', '.join(missing)}, which the index lists")
    return arrays


def is_input(name: str, array: Array) -> bool:
    """True if an array is an input: a `video` or `image` with three channels, first or last."""
    return name.startswith(("video", "image")) and array.ndim in (4, 5) and 3 in (array.shape[1], array.shape[-1])


def clips(array: Array) -> Float[Tensor, "n 3 t y x"]:
    """Input pixels as clips for an encoder; channels may be last, and an image becomes a clip of one frame."""
    pixels = torch.from_numpy(array).float()
    pixels = pixels.movedim(-1, 1) if pixels.shape[-1] == 3 else pixels
    return (pixels if pixels.ndim == 5 else pixels[:, :, None]).contiguous()


def main_input(given: Mapping[str, Tensor], *, still: bool) -> str:
    """The input of outputs without a suffix: `image` for an image model if it exists, otherwise `video`."""
    first = ("image", "video") if still else ("video", "image")
    return next(name for name in (*first, *given) if name in given)


def input_of(output: str, given: Iterable[str], main: str) -> tuple[str, str]:
    """The input of an output, and the name of the output without the suffix of that input."""
    suffixes = {f"_{name}": name for name in given}
    suffixes |= {name[5:]: name for name in sorted(given, key=lambda name: name[:5] == main[:5]) if len(name) > 5}
    end = max((word for word in suffixes if output.endswith(word)), key=len, default="")
    return (suffixes[end], output.removesuffix(end)) if end else (main, output)


def outputs_of(encoder: Encoder, clips: Float[Tensor, "n 3 t y x"]) -> dict[str, list[Tensor]]:
    """The outputs of an encoder by name: those of its network's `parts` and those of its call.

    A model without pooling (PE-Lang, PE-Spatial) returns its whole sequence under the name of any output.
    """
    returned = encoder(clips)
    outputs = {name: [part] for name, part in encoder.parts(clips).items()}  # type: ignore[attr-defined]
    returned_outputs = {"tokens": [returned.grid], "pooled": [returned.clip]}
    if sequence := outputs.get("sequence"):
        returned_outputs |= {
            name: [*returned_outputs.get(name, []), *sequence] for name in ("tokens", "pooled", "pooled_noproj")
        }
    return outputs | {name: [*outputs.get(name, []), *more] for name, more in returned_outputs.items()}


def compare_output(outputs: Mapping[str, list[Tensor]], names: tuple[str, str], reference: Array) -> tuple[float, str]:
    """The difference of the output with one of `names` from its reference, and a description of the problem, if any."""
    name = next((name for name in names if name in outputs), "")
    if not name:
        return math.inf, f"is not an output{nearest(names[0], outputs)}; outputs: {', '.join(sorted(outputs))}"
    matching = [
        output.numpy().reshape(reference.shape)
        for output in outputs[name]
        if same_up_to_reshape(output.shape, reference.shape)
    ]
    if not matching:
        shapes = " or ".join(dict.fromkeys(" x ".join(map(str, output.shape)) for output in outputs[name]))
        return math.inf, f"is {shapes}, not {' x '.join(map(str, reference.shape))}"
    error = max(difference(output, reference) for output in matching)
    return error, "" if error <= LIMIT else f"is {error:.2g} standard deviations off (limit {LIMIT:g})"


def same_up_to_reshape(shape: Sequence[int], other: Sequence[int]) -> bool:
    """True if shapes differ only by merged axes or axes of length one; channels are last in both."""
    return math.prod(shape) == math.prod(other) and shape[-1] == other[-1]


def difference(output: Array, reference: Array) -> float:
    """Largest difference in standard deviations of `reference`, or absolute if that is constant.

    Infinite for NaN and for unequal integers.
    """
    if reference.dtype.kind in "iub":
        return 0.0 if np.array_equal(output, reference) else math.inf
    error = float(np.abs(output.astype(np.float64) - reference).max())
    error /= float(reference.std(dtype=np.float64)) or 1.0
    return error if error == error else math.inf


def open_case(folder: Path, case: Mapping[str, Any], file: str) -> tuple[Model, Encoder, str]:
    """Load the file of a case: as the best match by name, else as another model of the family that fits.

    Returns the model, the encoder and a remark if it was not the best match. Raises the error of the best match if no
    model fits.
    """
    path, architecture = folder / file, dict(case.get("architecture") or {})
    if not path.exists():
        raise UserError(f"{file}: no such file")
    likely = candidates(architecture, case_name(case, 0))
    content = checkpoint.read(path).content
    marked = [model for model in likely if matches(model, content)] or likely[:1]
    errors: list[Exception] = []
    for model in marked:
        try:
            numbers, unread = known_numbers(model, config_numbers(model, folder, case) | architecture)
            encoder = load(f"{model.card.name}={path}", architecture=numbers)
        except Exception as error:  # that of the best match is raised below
            errors.append(error)
        else:
            remarks = [] if model is likely[0] else [f"not {likely[0].card.name}, the best match by name"]
            remarks += [f"unknown keys in the index: {', '.join(unread)}"] if unread else []
            return model, encoder, "; ".join(remarks)
    raise errors[0]


def known_numbers(model: Model, numbers: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The configuration values that the shape has, and the names of the others, whose lack the outputs would reveal."""
    known, unread = dict(numbers), list[str]()
    while True:
        try:
            model.shape.updated(known)
        except UnknownNumberError as error:
            unread.append(error.key)
            del known[error.key]
        else:
            return known, unread


def candidates(architecture: Mapping[str, Any], name: str) -> list[Model]:
    """The models of the family of a case, best match first.

    The best match shares most words with the case, then most words with its model name, then has fewest other words.
    """
    word = str(architecture.get("model") or name)
    variant = str(architecture.get("variant") or "")
    families = families_of(variant if word in ANY else word)
    wanted = words_of(f"{word} {variant}") | ({"registers"} if architecture.get("registers") else set())

    def rank(model: Model) -> tuple[int, int, int]:
        own = words_of(model.card.name.partition("/")[2])
        return -len(own & wanted), -len(own & words_of(word)), len(own - wanted)

    return [model for family in families for model in sorted(models(family).values(), key=rank)]


def families_of(model: str) -> tuple[str, ...]:
    """The families named by the longest prefix of a model name, e.g. `clip` for `clip_l14`; `UserError` if none."""
    by_name = {family.replace("_", ""): family for family in ENCODERS.families() if models(family)}
    words = re.split(r"[^a-z0-9]+", model.lower())
    for count in range(len(words), 0, -1):
        start = "".join(words[:count])
        if start in by_name:
            return (by_name[start],)
        if families := tuple(family for family in SAME.get(start, ()) if family in by_name.values()):
            return families
    raise UserError(f"no encoder family for model {model!r}{nearest(model, by_name)}; families: {', '.join(by_name)}")


def words_of(text: str) -> set[str]:
    """The words of a variant name with abbreviations expanded.

    `v2_l14_reg` gives v2, large, 14 and registers, `s16plus` small, 16 and plus, `7b16` 7b and 16.
    """
    words = set[str]()
    spaced = re.sub(r"(?<=\d)(?=plus|reg)|(?<=\d[bm])(?=\d)|(?<=vit)(?=\d)", " ", text.lower())
    for word in re.findall(r"[a-z0-9]+", spaced):
        size = re.fullmatch(r"(?:vit)?([sblhg])(\d{2,3})?", word)
        words |= {word, WORDS.get(word, word)} | ({WORDS[size[1]], size[2] or ""} if size else set())
    return words - {""}


def matches(model: Model, content: Any) -> bool:
    """True if a file matches one of the model's layouts."""
    hit = find_layout(model.layouts, content)
    return hit is not None and not hit[0].refused


def config_numbers(model: Model, folder: Path, case: Mapping[str, Any]) -> dict[str, Any]:
    """Configuration values from the config.json of a case's transformers folder, for files without one."""
    config = folder / str(case.get("hf") or "") / "config.json"
    if not case.get("hf") or not model.from_config or not config.is_file():
        return {}
    return dict(model.from_config(read_json(config, "fetch it again")))
