"""The classic convolutional networks for Keras 3, each true to its paper.

`kerascnn.applications` holds one builder a variant. Importing this package imports neither Keras nor a backend:
names are resolved when they are first used, so that listing variants stays instant.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING

from kerascnn.lazy import lazy_attributes

__version__ = "0.1.0"

if TYPE_CHECKING:
    from kerascnn import analysis, applications, layers, photos, surgery, weights
    from kerascnn.factory import create_model
    from kerascnn.photos import crops, detection
    from kerascnn.photos.predicting import decode_predictions, predict
    from kerascnn.photos.preparing import preprocess_input
    from kerascnn.registry import Variant, list_models, variant
    from kerascnn.saving import load_model
    from kerascnn.surgery.parts import inference_model

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
    "load_model",
    "photos",
    "predict",
    "preprocess_input",
    "surgery",
    "variant",
    "weights",
]

__getattr__, __dir__ = lazy_attributes(
    __name__,
    {
        "photos.predicting": ("decode_predictions", "predict"),
        "photos.preparing": ("preprocess_input",),
        "factory": ("create_model",),
        "surgery.parts": ("inference_model",),
        "registry": ("Variant", "list_models", "variant"),
        "saving": ("load_model",),
    },
    modules={
        **{name: name for name in ("analysis", "applications", "layers", "photos", "surgery", "weights")},
        "crops": "photos.crops",
        "detection": "photos.detection",
    },
)

if "keras" in sys.modules:
    # Keras can only load a saved model whose layers are registered. Where Keras is imported later than this package,
    # `import kerascnn.layers` does the same.
    importlib.import_module("kerascnn.layers")
