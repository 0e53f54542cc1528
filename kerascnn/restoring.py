"""What is known of a model survives in its .keras file, as an asset that plain Keras passes over.

Importing `kerascnn.layers` teaches Keras to read it.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras

from kerascnn.build_info import ASSET, BuildInfo, set_build_info
from kerascnn.photos.preprocessing import Preprocessing
from kerascnn.registry import PublishedError, WeightsRecord


def install() -> None:
    """Make Keras read what is known of a model whenever it loads one."""
    inherited = getattr(keras.Model, "load_assets", None)
    if getattr(inherited, "of_kerascnn", False):
        return

    def load_assets(self: keras.Model, folder: str | None) -> None:
        if inherited is not None:
            inherited(self, folder)
        file = Path(folder or "") / ASSET
        if folder and file.is_file():
            try:
                set_build_info(self, from_json(file.read_text(encoding="utf-8")))
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                warnings.warn(
                    f"What kerascnn knew of {self.name} cannot be read ({error}); it is loaded without.", stacklevel=2
                )

    load_assets.of_kerascnn = True  # type: ignore[attr-defined]
    keras.Model.load_assets = load_assets


def from_json(text: str) -> BuildInfo:
    """Read what `kerascnn.build_info.to_json` wrote.

    Raises:
        ValueError, TypeError, KeyError, AttributeError: The text is not of that form.
    """
    fields = _tuples(json.loads(text))
    if not isinstance(fields, dict):
        raise TypeError(f"it is a {type(fields).__name__} and not an object")
    known = {name: fields[name] for name in BuildInfo.__dataclass_fields__ if name in fields}
    preprocessing = known.get("preprocessing")
    return BuildInfo(
        **{
            **known,
            "given": frozenset(known.get("given", ())),
            "preceding": frozenset(known.get("preceding", ())),
            "preprocessing": Preprocessing.from_fields(preprocessing) if preprocessing else None,
            "weights": _record(known.get("weights")),
            "members": {name: _record(member) for name, member in known.get("members", {}).items()},
        }
    )


def _record(fields: Mapping[str, Any] | None) -> WeightsRecord | None:
    if fields is None:
        return None
    errors, preprocessing = fields.get("errors"), fields.get("preprocessing")
    if preprocessing is not None:  # lists, as the registry reads them
        preprocessing = {name: list(v) if isinstance(v, tuple) else v for name, v in preprocessing.items()}
    changed = {"errors": PublishedError(**errors) if errors else None, "preprocessing": preprocessing}
    return WeightsRecord(**{**fields, **changed})


def _tuples(value: Any) -> Any:
    """Turn JSON's lists into the tuples that the records hold."""
    if isinstance(value, list):
        return tuple(map(_tuples, value))
    return {name: _tuples(item) for name, item in value.items()} if isinstance(value, dict) else value
