"""Layer by layer: a probe with `+layers=all` as one probe for the encoder's own vector and one for each block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import is_dataclass, replace
from typing import TYPE_CHECKING

from vitascope.core.types import Card
from vitascope.features.layers import layer_views
from vitascope.probes.base import AnyProbe

if TYPE_CHECKING:
    from vitascope.encoders.base import Encoder


def with_layers(probes: Sequence[AnyProbe], encoder: Encoder | Card) -> list[AnyProbe]:
    """Return the probes, with those that name layers as one probe each; of equal names the first stays.

    UserError for layers that the encoder does not have.
    """
    each = [one for probe in probes for one in (_by_layer(probe, encoder) if probe.test.layer else [probe])]
    return list({probe.name: probe for probe in reversed(each)}.values())[::-1]


def _by_layer(probe: AnyProbe, encoder: Encoder | Card) -> list[AnyProbe]:
    """The probe on the encoder's own vector, then on the mean tokens of each layer that it names."""
    assert is_dataclass(probe), "layers are set on its views"
    text = probe.test.layer
    views = [(replace(probe.train, layer=""), replace(probe.test, layer=""))]
    views += zip(*(layer_views(view, text, encoder) for view in (probe.train, probe.test)), strict=True)
    return [
        replace(probe, name=probe.name.replace(f"+layers={text}", _suffix(test.layer)), train=train, test=test)
        for train, test in views
    ]


def _suffix(layer: str) -> str:
    return f"+layer={layer}" if layer else ""
