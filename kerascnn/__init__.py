"""The classic convolutional networks for Keras 3, each true to its paper.

`kerascnn.applications` holds one builder a variant. Importing this package imports neither Keras nor a backend:
names are resolved when they are first used, so that listing variants stays instant.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from kerascnn import analysis, applications, layers, photos, surgery, weights
    from kerascnn.factory import create_model
    from kerascnn.layers.auxiliary import inference_model
    from kerascnn.photos import crops, detection
    from kerascnn.photos.preprocessing import decode_predictions, preprocess_input
    from kerascnn.registry import Variant, list_models, variant

__all__ = [
    "Variant",
    "analysis",
    "applications",
    "create_model",
    "crops",
    "decode_predictions",
    "detection",
    "inference_model",
    "layers",
    "list_models",
    "photos",
    "preprocess_input",
    "surgery",
    "variant",
    "weights",
]

_MODULES = {
    **{name: name for name in ("analysis", "applications", "layers", "photos", "surgery", "weights")},
    "crops": "photos.crops",
    "detection": "photos.detection",
}
_HOMES = {
    "Variant": "registry",
    "inference_model": "layers.auxiliary",
    "create_model": "factory",
    "list_models": "registry",
    "variant": "registry",
    "decode_predictions": "photos.preprocessing",
    "preprocess_input": "photos.preprocessing",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"kerascnn.{_MODULES[name]}")
    if name in _HOMES:
        return getattr(importlib.import_module(f"kerascnn.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'kerascnn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


if "keras" in sys.modules:
    # Keras can only load a saved model whose layers are registered. Where Keras is imported later than this package,
    # `import kerascnn.layers` does the same.
    importlib.import_module("kerascnn.layers")
