"""The structure of the package as a reader relies on it: rooms, cycles, siblings, sizes, names, start-up."""

import ast
import re
import runpy
import statistics
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import vitascope
from rooms import ROOMS, SEPARATE, WHERE

SRC = Path(vitascope.__file__).parent
ROOT = Path(__file__).parents[2]
FILES = sorted(SRC.rglob("*.py"))
BESIDE = {"__init__", "__main__"}
"""Files beside the rooms."""
LONG = {("pretrain.train", "_pretrain"): 150}
"""Functions that may be longer than any other: training is read from the first step to the last, in one piece."""
TORCHLESS = [
    "vitascope",
    "vitascope.report",
    "vitascope.cli.main",
    "vitascope.cli.tables",
    "vitascope.evaluation.evaluate",
    "vitascope.evaluation.results",
    "vitascope.evaluation.scored_files.temporal",
    "vitascope.metrics.stats",
    "vitascope.probes.methods.knn",
]
TORCHLESS_ROOMS = ("core", "metrics", "sampling", "report")
DOTTED = re.compile(r"vitascope((?:\.\w+)+)")


def module(path: Path) -> str:
    parts = path.relative_to(SRC).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module(p): p for p in FILES}


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def named(text: str) -> Iterator[str]:
    """Modules that a dotted string means: the module, or all below a package whose member is found at run time."""
    for dotted in DOTTED.findall(text):
        parts = dotted.strip(".").split(".")
        known = next((k for k in range(len(parts), 0, -1) if ".".join(parts[:k]) in MODULES), 0)
        name = ".".join(parts[:known])
        if name and MODULES[name].name != "__init__.py":
            yield name
        elif name:
            yield from (m for m in MODULES if m.startswith(f"{name}."))


def docstrings(tree: ast.Module) -> set[int]:
    """Strings that are statements: prose, which may name any module."""
    return {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant)}


@cache
def imported(name: str) -> frozenset[str]:
    """Modules of the package that module `name` imports: anywhere in it, and by strings that `importlib` can take."""
    tree = parsed(MODULES[name])
    prose, found = docstrings(tree), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "vitascope":
            base = str(node.module).removeprefix("vitascope").removeprefix(".")
            inner = [f"{base}.{alias.name}".strip(".") for alias in node.names]
            found |= {i if i in MODULES and not shadowed(base, i) else base for i in inner}
        elif isinstance(node, ast.Import):
            found |= {a.name.partition(".")[2] for a in node.names if a.name.split(".")[0] == "vitascope"}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            found |= set(named(node.value)) if "importlib" in text_of(name) or "Registry" in text_of(name) else set()
    return frozenset(found - {name})


def shadowed(package: str, inner: str) -> bool:
    """Whether a package exports a function by the name of its module, as `vitascope.video.decode`."""
    return inner.rpartition(".")[2] in {n.id for n in ast.walk(parsed(MODULES[package])) if isinstance(n, ast.Name)}


def text_of(name: str) -> str:
    return MODULES[name].read_text(encoding="utf-8")


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(parsed(path)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node


def test_the_root_shows_the_rooms_and_three_files() -> None:
    shown = {p.name for p in SRC.iterdir() if p.name != "__pycache__"}
    assert shown == {*ROOMS, "__init__.py", "__main__.py", "py.typed"}


@pytest.mark.parametrize("name", [m for m in MODULES if m and m not in BESIDE])
def test_a_room_imports_only_rooms_before_it(name: str) -> None:
    order = list(ROOMS)
    own = order.index(name.split(".")[0])
    later = [i for i in imported(name) if not i or order.index(i.split(".")[0]) > own]
    assert not later, f"{name} imports {later or 'the root'}"


def test_siblings_do_not_know_each_other() -> None:
    for package in SEPARATE:
        for name in MODULES:
            if name.startswith(f"{package}."):
                siblings = [i for i in imported(name) if i.startswith(f"{package}.")]
                assert not siblings, f"{name} imports {siblings}"


def test_no_import_cycle() -> None:
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join((*trail[trail.index(name) :], name))
        if name not in done:
            for other in imported(name):
                visit(other, (*trail, name))
            done.add(name)

    for name in MODULES:
        if name:  # the root's public names are imported when they are used, by nobody inside
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
    assert statistics.quantiles(lengths, n=10)[-1] <= 17


def test_at_most_five_positional_arguments() -> None:
    for path in FILES:
        for f in functions(path):
            names = [a.arg for a in (*f.args.posonlyargs, *f.args.args) if a.arg not in ("self", "cls")]
            # a command is called by name only: its arguments are the command line's
            command = any(isinstance(d, ast.Call) and "command" in ast.unparse(d.func) for d in f.decorator_list)
            assert command or len(names) <= 5, f"{module(path)}.{f.name}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: module(p) or "vitascope")
def test_documented(path: Path) -> None:
    tree = parsed(path)
    assert ast.get_docstring(tree)
    for node in tree.body:
        public = isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_")
        if public:
            assert ast.get_docstring(node), f"{module(path)}.{node.name}"  # type: ignore[arg-type]


def importers(*packages: str) -> set[str]:
    """Modules that import any of these packages, wherever in them."""
    return {
        name
        for name, path in MODULES.items()
        for node in ast.walk(parsed(path))
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for target in ([a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""])
        if target.split(".")[0] in packages
    }


def test_only_video_and_the_motionlab_writer_touch_a_codec() -> None:
    assert {u.split(".")[0] for u in importers("av", "torchcodec") if u != "motionlab.write"} <= {"video"}


def test_rooms_that_know_no_torch() -> None:
    users = importers("torch") - {"core.device"}
    assert not [u for u in users if u.split(".")[0] in TORCHLESS_ROOMS or u.startswith("nn.configs")]


def test_starts_without_torch() -> None:
    code = (
        "import importlib, sys\nfor name in sys.argv[1:]:\n"
        "    importlib.import_module(name)\n    assert 'torch' not in sys.modules, name"
    )
    done = subprocess.run([sys.executable, "-c", code, *TORCHLESS], check=False, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


def test_help_imports_nothing_that_takes_long() -> None:
    code = (
        "import sys\nfrom vitascope.cli.main import main\nsys.argv = ['vitascope', '--help']\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
        "slow = {'numpy', 'jaxtyping', 'pyarrow', 'jinja2', 'importlib.metadata'} & set(sys.modules)\n"
        "assert not slow, slow"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


def test_ls_runs_without_torch() -> None:
    code = (
        "import sys\nfrom vitascope.cli.main import main\n"
        "for kind in sys.argv[1:]:\n    sys.argv = ['vitascope', 'ls', kind]\n"
        "    try:\n        main()\n    except SystemExit as end:\n        assert not end.code, (kind, end.code)\n"
        "    assert 'torch' not in sys.modules, kind"
    )
    kinds = ("encoders", "probes", "datasets", "recipes")
    done = subprocess.run([sys.executable, "-c", code, *kinds], check=False, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


def test_public_names() -> None:
    for name in vitascope.__all__:
        assert getattr(vitascope, name) is not None
    assert set(vitascope.__all__) <= set(dir(vitascope))


def test_contributing_shows_these_rooms_and_answers() -> None:
    generate = runpy.run_path(str(ROOT / "docs" / "generate.py"))
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert text == generate["with_rooms"](text), "run `python docs/generate.py`"


@pytest.mark.parametrize(("file", "name"), WHERE.values())
def test_answers_are_where_contributing_says(file: str, name: str) -> None:
    defined = {n.name for n in ast.walk(parsed(SRC / file)) if isinstance(n, (ast.FunctionDef, ast.ClassDef))}
    defined |= {n.id for n in ast.walk(parsed(SRC / file)) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    assert name in defined


def test_nothing_is_left_as_a_stub() -> None:
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        assert "NotImplementedError" not in text, path
