"""Rules that turn our layer names into those of other packages."""

from __future__ import annotations

import re
from collections.abc import Iterable

Rule = tuple[str, str]


class _Group(str):
    """What a pattern matched. In a template, `{0:-1}` is the first group less one."""

    def __format__(self, spec: str) -> str:
        return str(int(self) + int(spec)) if spec else str(self)


def rename(layers: Iterable[str], rules: Iterable[Rule]) -> dict[str, str]:
    """Rename layers by the first rule whose pattern matches the whole name; leave out those that none matches.

    Args:
        layers: Our names.
        rules: Regular expressions, and templates for `str.format` with the expression's groups: `{0}` is the first,
            `{0:+1}` the number after it.
    """
    compiled = [(re.compile(pattern), template) for pattern, template in rules]
    names = {}
    for layer in layers:
        for pattern, template in compiled:
            if match := pattern.fullmatch(layer):
                names[layer] = template.format(*map(_Group, match.groups()))
                break
    return names


def count(layers: Iterable[str], units: Iterable[str]) -> dict[str, str]:
    """Name convolutions and normalizations as Keras does by itself, which counts them in the order of building.

    Args:
        layers: Our names, UNIT_conv and UNIT_bn; other layers keep theirs.
        units: In the order in which keras.applications builds them.
    """
    numbers = {unit: f"_{i}" if i else "" for i, unit in enumerate(units)}
    kinds = {"conv": "conv2d", "bn": "batch_normalization"}
    names = {}
    for layer in layers:
        unit, _, kind = layer.rpartition("_")
        names[layer] = f"{kinds[kind]}{numbers[unit]}" if unit in numbers else layer
    return names
