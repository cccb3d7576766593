"""The rooms of the package, in order: what CONTRIBUTING shows and what the structure tests hold the code to."""

ROOMS = {
    "core": "plain data, names to things, errors, files, text, progress, worker processes, device",
    "metrics": "pure functions of arrays, and statistics; no torch",
    "sampling": "from a `Video` to clips of timestamps; no torch, no decoding",
    "video": "from files to frames; the one room that imports a codec (with `motionlab/write`)",
    "nn": "torch modules without weights or model names; `nn/configs` is plain numbers without torch",
    "motionlab": "renders the files of the built-in benchmark",
    "datasets": "`builders/` one file per dataset, `readers/` one per annotation format, `audit/` what is on disk",
    "encoders": "the protocol, `families/` one file per model family, `weights/` files to tensors, loading",
    "features": "vectors of a dataset by an encoder through a view: store, extraction, import, export",
    "probes": "`methods/` one file per probe; what methods of a kind share, and training of heads, beside them",
    "pretrain": "`data/`, `targets/`, `recipes/`, `monitoring/` and the training loop",
    "evaluation": "runs probes over folds and seeds, scores, keeps results; benchmarks and cost estimates",
    "report": "`analysis/` numbers, `charts/` geometry, `sections/` rows, `templates/`, and the page; no torch",
    "cli": "one file per command group: parse, call, print",
}
"""A room imports only rooms before it."""
SEPARATE = ("encoders.families", "datasets.builders", "probes.methods", "pretrain.recipes")
"""Packages of one-file additions: found by their existence, and none imports another."""
WHERE = {
    "the tie rule of kNN": ("probes/classification/nearest_neighbors.py", "neighbors"),
    "what a V-JEPA checkpoint's keys are mapped to": ("encoders/families/vjepa.py", "LAYOUTS"),
    "how the timestamps of a clip are chosen": ("sampling/samplers.py", "Uniform"),
    "what makes two results comparable": ("evaluation/runner.py", "protocol_of"),
    "where the report's table is laid out": ("report/sections/leaderboard.py", "table"),
}
"""Questions that somebody new asks: the file below `src/vitascope` with the answer, and the name in it."""


def rooms_table() -> str:
    """The rooms as a Markdown table."""
    rows = [f"| `{name}` | {about} |" for name, about in ROOMS.items()]
    return "\n".join(["| room | what is in it |", "|---|---|", *rows]) + "\n"


def where_table() -> str:
    """The questions as a Markdown table."""
    rows = [f"| {question} | `src/vitascope/{file}`: `{name}` |" for question, (file, name) in WHERE.items()]
    return "\n".join(["| question | answer |", "|---|---|", *rows]) + "\n"
