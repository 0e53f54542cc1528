"""Build networks by name. Keras is imported with the first network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from kerascnn.registry import variant, variants

if TYPE_CHECKING:
    import keras


def create_model(name: str, **options: Any) -> keras.Model:
    """Build a variant by name: `create_model("resnet50", classes=10)` is `applications.resnet50(classes=10)`.

    Args:
        name: One of `list_models()`.
        **options: Those of the builder: `kerascnn.building.options.ModelOptions` and its family's own.

    Raises:
        ValueError: No variant has that name, or an option has a value that the builder does not take.
        TypeError: The builder has no option of that name; the message lists those that it has.
    """
    from kerascnn import applications

    model: keras.Model = getattr(applications, variant(name).name)(**options)
    return model


def builders() -> Mapping[str, Callable[..., keras.Model]]:
    """Return the builder of every variant by name."""
    from kerascnn import applications

    return {name: getattr(applications, name) for name in variants()}
