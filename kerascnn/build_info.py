"""What kerascnn knows of a model that it built: one record, which the model holds as its attribute `kerascnn_info`.

Keras need not be imported to read it. A .keras file keeps it (see `kerascnn.restoring`), a .h5 file does not.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from kerascnn.data import class_names

if TYPE_CHECKING:
    import keras

    from kerascnn.photos.preprocessing import Preprocessing
    from kerascnn.registry import WeightsRecord

    Model = TypeVar("Model", bound=keras.Model)

ASSET = "kerascnn.json"  # its name among the assets of a .keras file
_ATTRIBUTE = "kerascnn_info"


@dataclass(frozen=True)
class BuildInfo:
    """What is known of one model.

    Attributes:
        variant: its name in the registry; None where it is no longer one of the variants, or was not built by kerascnn.
        options: the family's own options as built.
        given: the names of those that the caller gave.
        preceding: names of the layers in front of the network (`input_tensor`), which weights never touch.
        top: features, include_top, pooling and classifier_activation, where they are not the defaults.
        preprocessing: how photos are prepared for it; None where that is not known.
        weights: the published weights, or the .kdc file, that it was built with; None for random weights and for other
            files.
        members: of an ensemble, the `weights` of each member by its name.
        labels: names of its classes in the order of its outputs, where they are not those of the weights.
    """

    variant: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    given: frozenset[str] = frozenset()
    preceding: frozenset[str] = frozenset()
    top: Mapping[str, Any] = field(default_factory=dict)
    preprocessing: Preprocessing | None = None
    weights: WeightsRecord | None = None
    members: Mapping[str, WeightsRecord | None] = field(default_factory=dict)
    labels: tuple[str, ...] | None = None

    def class_names(self, outputs: int) -> tuple[str, ...] | None:
        """Return the names of the classes, in the order of a classifier's outputs.

        Args:
            outputs: how many outputs the classifier has. A head of another size than the weights' is a new one.

        Returns:
            None where they are not known; for an ensemble, where its members do not share them.
        """
        if self.labels is not None or self.top.get("head") == "new":
            return self.labels if len(self.labels or ()) == outputs else None
        records = list(self.members.values()) or [self.weights]
        names = {
            class_names(record.labels) if record is not None and record.classes == outputs else None
            for record in records
        }
        return names.pop() if len(names) == 1 else None


def build_info(model: keras.Model) -> BuildInfo | None:
    """Return what is known of a model; None for one that kerascnn did not build or make from one that it built."""
    info: BuildInfo | None = getattr(model, _ATTRIBUTE, None)
    return info


def set_build_info(model: keras.Model, info: BuildInfo | None) -> None:
    """Note what is known of a model, instead of what was noted before. `model.save("NAME.keras")` keeps it."""
    setattr(model, _ATTRIBUTE, info)
    if info is not None:
        # Keras calls this attribute of whatever it saves that has it.
        model.save_assets = partial(_save, info)


def _save(info: BuildInfo, folder: str) -> None:
    (Path(folder) / ASSET).write_text(to_json(info), encoding="utf-8")


def to_json(info: BuildInfo) -> str:
    """Write what is known of a model as JSON; `kerascnn.restoring.from_json` reads it."""
    return json.dumps(asdict(info), default=sorted, ensure_ascii=False)


def carry_over(source: keras.Model, target: Model, **changes: Any) -> Model:
    """Note what is known of one model on another that was made from it.

    Args:
        source: the model that `target` was made from; may be `target` itself.
        target: the model to note it on.
        **changes: fields of `BuildInfo` that differ.

    Returns:
        `target`.
    """
    info = build_info(source)
    set_build_info(target, replace(info or BuildInfo(), **changes) if changes else info)
    return target
