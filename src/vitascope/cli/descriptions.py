"""What a name stands for: a probe, an encoder, a sampler, a recipe or a dataset, with every option."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from rich.markup import escape
from rich.table import Table

from vitascope.cli import tables
from vitascope.core import option_text
from vitascope.core.errors import UnknownNameError
from vitascope.core.fields import FieldOption, options_of
from vitascope.core.registry import Registry
from vitascope.core.text import nearest
from vitascope.pretrain import find_recipe


class Description(NamedTuple):
    """Description of a name, for its user."""

    kind: str
    name: str
    """As it was typed, without a path."""
    about: str
    """One line."""
    text: str
    """The docstring of what the name stands for; of a dataset, which folder it reads."""
    options: list[FieldOption]
    card: dict[str, Any]
    """The encoder's card, or what is known of a dataset's classes, as plain data; empty for other kinds."""
    variants: dict[str, str]
    """Other names of the family, and one line about each."""


def described(name: str) -> Description:
    """Describe a name of any kind; UnknownNameError with the nearest name of all kinds."""
    for one in (_probe, _encoder, _sampler, _recipe, _dataset, _loaded):
        description = one(name)
        if description is not None:
            return description
    plain = option_text.parse(name).name
    known = [n for registry in tables.REGISTRIES.values() for n in (*registry.names(), *registry.families())]
    known += [*find_recipe.names(), *_samplers()]
    kinds = "probe, encoder, sampler, recipe or dataset"
    raise UnknownNameError(f"no {kinds} {plain!r}{nearest(plain, known)}; `vitascope ls` lists them")


def options_table(options: list[FieldOption]) -> Table:
    """One option a row; what it must be stands below its type."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for head, most in {"option": None, "type": 26, "default": 16, "meaning": None}.items():
        table.add_column(head, no_wrap=head == "option", max_width=most, overflow="fold")
    for name, kind, default, constraint, meaning in options:
        table.add_row(*map(escape, (name, "\n".join(filter(None, (kind, constraint))), default, meaning)))
    return table


def card_table(card: dict[str, Any], title: str = "card") -> Table:
    """One field of a card a row, without those that say nothing."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column(title, no_wrap=True)
    table.add_column("")
    for key, value in card.items():
        number = f"{value:,}" if key == "params" else str(value)
        if text := ", ".join(map(str, value)) if isinstance(value, list) else number:
            table.add_row(key, escape(text))
    return table


def _loaded(name: str) -> Description | None:
    """Describe an encoder that only loading it can tell about: a folder, a file or a function."""
    if not set(":/.") & set(name):
        return None
    from vitascope.encoders.load import has_no_catalog_name, load

    if not has_no_catalog_name(name):
        return None
    card = load(name).card
    options = []
    if name.startswith("hf:"):
        from vitascope.encoders.families.transformers import view_option

        options = [view_option(name.removeprefix("hf:"))]
    return Description("encoder", name, card.trained, "", options, {**card.behavior, **card.knowledge}, {})


def _probe(name: str) -> Description | None:
    registry = tables.REGISTRIES["probes"]
    plain = option_text.parse(name, path=False).name
    if plain not in registry.names():
        return _family("probe", registry, name)
    from vitascope.probes.options import options, probe

    built = probe(name)
    text = inspect.getdoc(type(built)) or ""
    return Description("probe", name, registry.names()[plain], text, options(built), {}, _variants(registry, plain))


def _encoder(name: str) -> Description | None:
    from vitascope.encoders.catalog import models
    from vitascope.encoders.options import configured, options, spelled
    from vitascope.encoders.weights import native_card

    registry = tables.REGISTRIES["encoders"]
    parts = spelled(name)
    if parts.name not in registry.names():
        return _family("encoder", registry, name)
    family, _, variant = parts.name.partition("/")
    typed = str(parts._replace(path=""))
    model = configured(typed) if variant in models(family) else None
    card = model.full_card() if model else native_card.shipped_cards().get(parts.name)
    return Description(
        "encoder",
        typed,
        registry.names()[parts.name],
        _docstring(registry, family),
        options(model) if model else [],
        {**card.behavior, **card.knowledge} if card else {},
        _variants(registry, parts.name),
    )


def _sampler(name: str) -> Description | None:
    from vitascope.sampling.names import Sampler, describe, parse

    known = _samplers()
    plain = (re.match(r"\w*", name.strip().lower()) or [""])[0]
    if plain not in known:
        return None
    about, _, text = (inspect.getdoc(known[plain]) or "").partition("\n\n")
    item = known[plain] if name.strip().lower() == plain else parse(name)
    return Description("sampler", name, about, text, options_of(item, {Sampler: describe}), {}, {})


def _recipe(name: str) -> Description | None:
    plain = option_text.parse(name, path=False).name
    if plain not in find_recipe.names():
        return None
    text, options = find_recipe.options(name)
    return Description("recipe", name, find_recipe.names()[plain], text, options, {}, {})


def _dataset(name: str) -> Description | None:
    registry = tables.REGISTRIES["datasets"]
    plain = option_text.parse(name).name
    if plain not in registry.names():
        return _family("dataset", registry, name)
    family, _, variant = plain.partition("/")
    text = _docstring(registry, family, "build")
    told: Callable[[str], dict[str, Any]] | None = getattr(registry.module(family), "facts", None)
    facts = told(variant) if told else {}
    return Description("dataset", plain, registry.names()[plain], text, [], facts, _variants(registry, plain))


def _family(kind: str, registry: Registry, name: str) -> Description | None:
    """A family whose name alone stands for no member: what there is in it."""
    family = option_text.parse(name).name
    if family not in registry.families() or not registry.variants(family):
        return None
    text = _docstring(registry, family, *(("build",) if kind == "dataset" else ()))
    return Description(f"{kind} family", family, "", text, [], {}, _variants(registry, family))


def _variants(registry: Registry, name: str) -> dict[str, str]:
    """The other names of a family."""
    family = name.partition("/")[0]
    return {n: about for n, about in registry.names().items() if n.partition("/")[0] == family and n != name}


def _docstring(registry: Registry, family: str, function: str = "") -> str:
    """The docstring of a family's module, or of a function in it, read without importing it."""
    tree = ast.parse(registry.source(family))
    return "\n\n".join(filter(None, _docstrings(tree, function)))


def _docstrings(tree: ast.Module, function: str) -> Iterator[str | None]:
    yield ast.get_docstring(tree)
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name == function:
            yield ast.get_docstring(node)


def _samplers() -> dict[str, type[Any]]:
    from vitascope.sampling.names import SAMPLERS

    return SAMPLERS
