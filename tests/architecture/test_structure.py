"""The structure of the package as a reader relies on it: layers, cycles, sizes, docstrings, names, start-up."""

import ast
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import vitascope

SRC = Path(vitascope.__file__).parent
FILES = sorted(SRC.rglob("*.py"))
LAYERS = {
    0: "types files recording results stats metrics keeping report blueprint architectures revisions",
    1: "alterations catalogue checkpoint heads inscription instants look nn outside pickles pixels points progress "
    "runtime samplers sampling split suppression survey_file twins video workers",
    2: "annotations dataset_file datasets diagnosis encoder encoders exported fitting footage grid hub "
    "inventory kinetics motionlab pretrained procedures published published_dense settings store untrimmed",
    3: "check classifier convert dense encode exports features fixtures live localisation localise_settings "
    "localising manifest neighbours probe probes recognition segment_settings segmentation segmenting selection "
    "table4 table7 training",
    4: "asking evaluation forecast judging pretrain sources tuning",
    5: "__main__ cli cli_check cli_evaluate cli_pretrain flags listing recipes testing",
}
LAYER = {name: number for number, names in LAYERS.items() for name in names.split()}
LONG = {("pretrain.loop", "_pretrain"): 150}
"""Functions that may be longer than any other: training is read from the first step to the last, in one piece."""
SEPARATE = ("encoders", "datasets", "probes")
TORCHLESS = [
    "vitascope",
    "vitascope.report",
    "vitascope.cli",
    "vitascope.catalogue",
    "vitascope.results",
    "vitascope.stats",
]


def module(path: Path) -> str:
    parts = path.relative_to(SRC).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module(p): p for p in FILES}


def imported(path: Path, *, top_only: bool = False) -> Iterator[str]:
    """Modules of the package that `path` imports, below the package's name."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in tree.body if top_only else ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "vitascope":
            base = node.module.removeprefix("vitascope").removeprefix(".")
            for alias in node.names:
                inner = f"{base}.{alias.name}".strip(".")
                yield inner if inner in MODULES else base
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "vitascope":
                    yield alias.name.removeprefix("vitascope").removeprefix(".")


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node


def layer(name: str) -> int:
    return LAYER[name.split(".")[0]]


@pytest.mark.parametrize("path", [p for m, p in MODULES.items() if m], ids=lambda p: module(p))
def test_imports_only_from_its_own_layer_or_below(path: Path) -> None:
    own = layer(module(path))
    above = [name for name in imported(path) if name and layer(name) > own]
    assert not above, f"{module(path)} is in layer {own}"


def test_every_module_has_a_layer() -> None:
    assert {m.split(".")[0] for m in MODULES if m} <= set(LAYER)


def test_siblings_do_not_know_each_other() -> None:
    for name, path in MODULES.items():
        package, _, rest = name.partition(".")
        if package in SEPARATE and rest:
            siblings = [i for i in imported(path) if i.startswith(f"{package}.") and i != name]
            assert not siblings, f"{name} imports {siblings}"


def test_no_import_cycle() -> None:
    graph = {name: {i for i in imported(path, top_only=True) if i and i != name} for name, path in MODULES.items()}
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join((*trail[trail.index(name) :], name))
        if name not in done:
            for other in graph.get(name, ()):
                visit(other, (*trail, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def test_sizes() -> None:
    sizes = {(module(p), f.name, f.lineno): (f.end_lineno or 0) - f.lineno + 1 for p in FILES for f in functions(p)}
    lengths = list(sizes.values())
    files = [len(p.read_text(encoding="utf-8").splitlines()) for p in FILES]
    assert max(files) <= 400
    assert statistics.median(files) < 150
    for (where, name, _), length in sizes.items():
        assert length <= LONG.get((where, name), 60), f"{where}.{name}"
    assert statistics.median(lengths) < 12
    assert statistics.quantiles(lengths, n=10)[-1] < 40


def test_at_most_five_positional_arguments() -> None:
    for path in FILES:
        for f in functions(path):
            names = [a.arg for a in (*f.args.posonlyargs, *f.args.args) if a.arg not in ("self", "cls")]
            # a command is called by name only: its arguments are the command line's
            command = any(isinstance(d, ast.Call) and "command" in ast.unparse(d.func) for d in f.decorator_list)
            assert command or len(names) <= 5, f"{module(path)}.{f.name}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: module(p) or "vitascope")
def test_documented(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)
    for node in tree.body:
        public = isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_")
        if public:
            assert ast.get_docstring(node), f"{module(path)}.{node.name}"  # type: ignore[arg-type]


def test_only_video_and_the_motionlab_writer_touch_a_codec() -> None:
    users = {
        name
        for name, path in MODULES.items()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for target in ([a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""])
        if target.split(".")[0] in ("av", "torchcodec")
    }
    assert {u.split(".")[0] for u in users} <= {"video", "motionlab"}


@pytest.mark.parametrize("name", TORCHLESS)
def test_starts_without_torch(name: str) -> None:
    code = f"import {name}, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_ls_and_report_run_without_torch(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom vitascope.cli import main\nsys.argv = {argv!r}\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        "sys.exit(3 * ('torch' in sys.modules))"
    )
    for kind in ("encoders", "probes", "datasets", "recipes"):
        argv = ["vitascope", "ls", kind]
        done = subprocess.run([sys.executable, "-c", code.format(argv=argv)], check=False, capture_output=True)
        assert done.returncode == 0, done.stderr.decode()


def test_public_names() -> None:
    for name in vitascope.__all__:
        assert getattr(vitascope, name) is not None
    assert set(vitascope.__all__) <= set(dir(vitascope))


def test_nothing_is_left_as_a_stub() -> None:
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        assert "NotImplementedError" not in text, path
