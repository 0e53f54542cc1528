"""SavedModel: what TensorFlow Serving and TensorFlow itself load."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from export.errors import ExportError
from serving.contract import DEFAULT_SIGNATURE, EXTRA, LABELS_FILE

if TYPE_CHECKING:
    from pathlib import Path

    from export.tracing.graph import TracedModel
    from kerascnn.photos.preprocessing import Preprocessing


def write_saved_model(
    traced: TracedModel,
    folder: Path,
    *,
    preprocessing: Preprocessing | None = None,
    labels: Sequence[str] | None = None,
) -> None:
    """Write the version folder `folder` (`.../saved_model/1`), ready for a server.

    The weights are stored as variables, so that a server can share and restore them, and the batch stays open. Beside
    `serving_default` it has the signatures of `photo_signatures`, where the network can have them, and assets.extra
    holds the labels and the warm-up requests.

    Args:
        preprocessing: how a photo becomes the network's input; None where that is not known.
        labels: class names in the order of the outputs.

    Raises:
        ExportError: the graph holds what the server's TensorFlow does not know.
    """
    import tensorflow as tf

    from export.formats.signatures import photo_signatures
    from export.formats.warmup import write_warmup
    from serving.contract.operators import problems

    module = tf.Module()
    module.weights = traced.variables
    # Reachable as attributes too, because a signature is only a wrapper that calls them.
    module.network = traced.function
    signatures = {DEFAULT_SIGNATURE: traced.function}
    photos = photo_signatures(traced, preprocessing, labels)
    if photos is not None:
        module.prepare_uint8, module.prepare_bytes = photos.prepare_uint8, photos.prepare_bytes
        signatures.update(photos.signatures)
    tf.saved_model.save(module, str(folder), signatures=signatures)
    unknown = problems(folder)
    if unknown:
        raise ExportError(" ".join(unknown))
    write_warmup(signatures, folder)
    if labels is not None:
        (folder / EXTRA / LABELS_FILE).write_text("\n".join(labels) + "\n", encoding="utf-8")
