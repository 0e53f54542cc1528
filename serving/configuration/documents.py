"""The YAML and JSON files of a configuration: parse them, and look into them."""

from __future__ import annotations

import json
from collections.abc import Iterator


def parse(name: str, text: str) -> list[object]:
    """Parse the documents of a YAML or JSON file; an empty list for other files.

    Raises:
        ValueError: The file cannot be parsed. The error is one line.
    """
    import yaml

    try:
        if name.endswith(".json"):
            return [json.loads(text)]
        if name.endswith((".yaml", ".yml")):
            loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
            return [document for document in yaml.load_all(text, loader) if document is not None]
    except (ValueError, yaml.YAMLError) as error:
        raise ValueError(" ".join(str(error).split())) from error
    return []


def walk(value: object) -> Iterator[dict[str, object] | list[object]]:
    """Yield every object and list inside a value, the value itself included, from the outside to the inside."""
    if isinstance(value, (dict, list)):
        yield value
        for child in value.values() if isinstance(value, dict) else value:
            yield from walk(child)
