"""Trained weights: where they come from, how they are fetched, checked, decoded and put into a model."""

from kerascnn.weights import container
from kerascnn.weights.errors import WeightsError, WeightsUnavailable
from kerascnn.weights.loading import Loaded, load
from kerascnn.weights.resolving import Resolved, find, resolve
from kerascnn.weights.sources import cache_folder, fetch, list_weights

__all__ = [
    "Loaded",
    "Resolved",
    "WeightsError",
    "WeightsUnavailable",
    "cache_folder",
    "container",
    "fetch",
    "find",
    "list_weights",
    "load",
    "resolve",
]
