"""What is wrong with weights."""

from __future__ import annotations


class WeightsError(ValueError):
    """A weights file is not what it should be: truncated, altered, or made for another network."""


class WeightsUnavailable(OSError):
    """Published weights are not in the cache, and their addresses do not give them."""
