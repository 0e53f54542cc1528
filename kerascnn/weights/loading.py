"""Put trained weights into a model: all of them or none."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from kerascnn import registry
from kerascnn.build_info import BuildInfo, build_info
from kerascnn.keras_graph import give_values
from kerascnn.registry import WeightsRecord
from kerascnn.weights import reading
from kerascnn.weights.errors import WeightsError
from kerascnn.weights.naming.choosing import Family, Naming, best_naming, family
from kerascnn.weights.reading import Checkpoint
from kerascnn.weights.resolving import Resolved, resolve

if TYPE_CHECKING:
    import keras
    from keras.layers import Layer

    from kerascnn.weights.fitting import Fit

logger = logging.getLogger("kerascnn")

SHOWN = 6  # names of each kind that an error lists


@dataclass(frozen=True)
class Loaded:
    """What `load` did.

    Attributes:
        path: The file that was read.
        naming: The naming that it follows.
        layers: How many layers were set.
        new_layers: Those that kept their own weights.
        adapted_layers: Those whose RGB kernels were adapted to other channels.
    """

    path: Path
    naming: str
    layers: int
    new_layers: tuple[str, ...] = ()
    adapted_layers: tuple[str, ...] = ()


def load(
    model: keras.Model,
    source: str | os.PathLike[str] | Resolved,
    *,
    variant: str | None = None,
    head: Literal["new"] | None = None,
    input_channels: Literal["adapt"] | None = None,
    by_order: bool = False,
) -> Loaded:
    """Load weights into a model that kerascnn built, from published ones by name or from a file.

    Keras files (.weights.h5, .h5, .keras), torch checkpoints (.pth, .pt, .th), .safetensors, Deep Compression's .net
    and our own compressed .kdc (see `kerascnn.weights.container`) are read. Layers are found by name: those in front of
    the network (`input_tensor`) are left alone, and a model without its top takes the weights of the layers that it
    has. Nothing is changed unless everything fits.

    Args:
        model: The model.
        source: The name of published weights, the path of a file, or what `resolve` found.
        variant: The variant that the model is; what the builder noted, else the model's name, by default.
        head: "new" leaves the last layer as it is, for another number of classes.
        input_channels: "adapt" lets a model with one, four or more input channels take RGB weights: one channel takes
            the sum over RGB (a gray image then gives what it gave as RGB), channels beyond three start at zero.
        by_order: For a Keras file whose layers have other names: take them in the file's order, as the model's.

    Raises:
        ValueError: The variant has no weights of that name.
        FileNotFoundError: The path does not exist.
        WeightsError: The file cannot be read, is damaged, or does not fit the model.
        WeightsUnavailable: The weights could not be fetched.
        ImportError: The package that reads such files is not installed.
    """
    info = build_info(model)
    variant = variant or (info and info.variant) or model.name
    resolved = source if isinstance(source, Resolved) else resolve(variant, source)
    _check_options(resolved.record, info)
    opened = resolved.opened()
    checkpoint = reading.of_arrays(opened.path, opened.arrays()) if opened else reading.read(resolved.fetched())
    loading = _Loading(model, checkpoint, family(registry.variant(variant).family), resolved.record, info)
    return loading.run(head, input_channels, by_order)


def _check_options(record: WeightsRecord | None, info: BuildInfo | None) -> None:
    for option, needed in (record.options if record else {}).items():
        built = info.options.get(option, needed) if info else needed
        if record and built != needed:
            raise WeightsError(
                f"The weights {record.full_name!r} were trained with {option}={needed!r}, but the model was built with "
                f"{option}={built!r}. Build it with {option}={needed!r}. Nothing was loaded."
            )


@dataclass(frozen=True)
class _Loading:
    model: keras.Model
    checkpoint: Checkpoint
    family: Family
    record: WeightsRecord | None
    info: BuildInfo | None

    def run(self, head: str | None, input_channels: str | None, by_order: bool) -> Loaded:
        from kerascnn.weights.fitting import Matching, fit

        layers = self._own_layers()
        own = [layer.name for layer in layers]
        candidates = {"order": self._ordered(own)} if by_order else self._candidates()
        naming = self._naming(own, candidates)
        new = self._last_layers() if head == "new" else ()
        matching = Matching(
            names=candidates[naming](own),
            epsilon=self.family.epsilon(naming, self.checkpoint.layout),
            kept=new,
            may_be_left=self._may_be_left(naming, candidates[naming], own),
            adapt_stem=input_channels == "adapt",
        )
        fitted = fit(self.model, layers, self.checkpoint, matching)
        self._refuse_misfit(fitted, new)
        give_values()  # only now, when the sizes are known to be those of the file
        by_name = {layer.name: layer for layer in layers}
        for name, arrays in fitted.arrays.items():
            by_name[name].set_weights(arrays)
        if new:
            names = ", ".join(new)
            logger.warning("%s: the head (%s) is new, it keeps its random weights: train it.", self.model.name, names)
        return Loaded(self.checkpoint.path, naming, len(fitted.arrays), new, tuple(fitted.adaptable))

    def _own_layers(self) -> list[Layer]:
        preceding = self.info.preceding if self.info else ()
        return [layer for layer in self.model.layers if layer.weights and layer.name not in preceding]

    def _candidates(self) -> Mapping[str, Naming]:
        candidates = self.family.candidates(self.checkpoint.layout)
        if self.record and self.record.format == "kdc":
            return {"own": candidates["own"]}
        if self.record and self.record.format == "keras" and "keras_applications" in candidates:
            # Where names are equal, only this says that the file's normalizations have Keras's epsilon.
            return {"keras_applications": candidates["keras_applications"]}
        return candidates

    def _ordered(self, own: Sequence[str]) -> Naming:
        stored = list(self.checkpoint.layers)
        if self.checkpoint.layout != "keras" or len(stored) != len(own):
            raise WeightsError(
                f"by_order takes a Keras file with as many layers with weights as the model {self.model.name!r} has, "
                f"{len(own)}; {self.checkpoint.path} has {len(stored)}. Nothing was loaded."
            )
        pairs = dict(zip(own, stored, strict=True))
        return lambda layers: {layer: pairs[layer] for layer in layers if layer in pairs}

    def _naming(self, own: Sequence[str], candidates: Mapping[str, Naming]) -> str:
        naming = best_naming(self.checkpoint, own, candidates)
        if naming is None:
            raise WeightsError(
                f"{self.checkpoint.path} holds no layer of the model {self.model.name!r} under any known naming "
                f"({', '.join(candidates) or 'none for such files'}); it has {_some(list(self.checkpoint.layers))}. "
                "Nothing was loaded."
            )
        if self.record is None:
            self._check_usual_options(naming)
        return naming

    def _check_usual_options(self, naming: str) -> None:
        """Refuse a file of one's own whose naming tells that it was trained in another form than the model's."""
        for option, usual in self.family.options.get(naming, {}).items():
            built = self.info.options.get(option, usual) if self.info and option not in self.info.given else usual
            if built != usual:
                raise WeightsError(
                    f"{self.checkpoint.path} follows the naming of {naming}, whose networks have {option}={usual!r}; "
                    f"the model was built with {option}={built!r}. Give {option}={usual!r} to the builder, or "
                    f"{option}={built!r} if the weights were trained so. Nothing was loaded."
                )

    def _may_be_left(self, naming: str, names: Naming, own: Sequence[str]) -> list[str]:
        """Return the prefixes of what the model need not use: a head that it was built without, and auxiliary ones."""
        if self.record and self.record.options.get("include_top", True) is False:
            return []
        lacking = [layer for layer in self.family.head if layer not in own]
        return [*(f"{prefix}." for prefix in names(lacking).values() if prefix), *self.family.left_out.get(naming, ())]

    def _last_layers(self) -> tuple[str, ...]:
        from kerascnn.surgery.heads import last_layers

        return tuple(dict.fromkeys(layer.name for layer in last_layers(self.model)))

    def _refuse_misfit(self, fitted: Fit, new: Sequence[str]) -> None:
        broken = [name for name, arrays in fitted.arrays.items() if not all(np.isfinite(a).all() for a in arrays)]
        reasons = {
            "missing": fitted.missing,
            "unexpected": fitted.unexpected,
            "of the wrong shape": fitted.misshapen,
            "not finite": broken,
        }
        if not any(reasons.values()):
            return
        listed = "; ".join(f"{len(names)} {reason}: {_some(names)}" for reason, names in reasons.items() if names)
        hint = ""
        if any(name not in fitted.arrays for name in fitted.adaptable):
            hint += ' input_channels="adapt" adapts RGB weights to other input channels.'
        last, wrong = self._last_layers(), [*fitted.missing, *fitted.misshapen, *broken]
        if not new and wrong and not fitted.unexpected and all(any(name in w for name in last) for w in wrong):
            hint += ' head="new" leaves the last layer untrained, for other classes; include_top=False leaves it out.'
        raise WeightsError(
            f"{self.checkpoint.path} does not fit the model {self.model.name!r}: {listed}. Nothing was loaded.{hint}"
        )


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
