"""SavedModel: what TensorFlow Serving and TensorFlow itself load."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from export.checking.runtimes import Runtime, Tap, TensorSpec, only
from export.errors import ExportError
from export.formats.format import Format, Source
from export.formats.precision import COMPUTED_FLOAT16, PRECISIONS, Precision
from export.proving.proof import Place
from serving.contract import DEFAULT_SIGNATURE, EXTRA, LABELS_FILE

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import tensorflow as tf

    from export.tracing.graph import TracedModel
    from kerascnn.photos.preprocessing import Preprocessing


class SavedModel(Format):
    """A folder of TensorFlow's, with signatures that take photos where the network can have them."""

    name, title, help = "saved_model", "SavedModel", "Write a SavedModel (TensorFlow Serving)."
    precisions = (PRECISIONS["float32"], COMPUTED_FLOAT16, PRECISIONS["bfloat16"])
    packages = ("tensorflow", "tensorflow_serving")
    runtime = Place("tensorflow", "TensorFlow", "tensorflow")

    def path(self, stem: str, precision: Precision) -> str:
        """Return the version folder, which TensorFlow Serving looks for."""
        half = f"_{precision.name}" if precision.is_half else ""
        return f"{self.name}{half}{'_untrained' if stem.endswith('_untrained') else ''}/1"

    def write(self, source: Source, path: Path, precision: Precision) -> None:
        """Write the version folder `path`."""
        from export.tracing.folding import folded
        from export.tracing.half import in_half

        traced = in_half(source.traced, precision.name) if precision.is_half else folded(source.traced)
        write_saved_model(traced, path, preprocessing=source.reading, labels=source.labels)

    def open(self, path: Path, threads: int = 2) -> Runtime:
        """Load it into TensorFlow, which takes as many threads as it wants."""
        return open_saved_model(path)

    @contextmanager
    def checking(self, path: Path, source: Source) -> Iterator[Callable[[Runtime], None]]:
        """Check the signatures that take photos, the warm-up requests, and that wrong requests are refused."""
        from export.checking.photo_signatures import check_photo_signatures
        from serving.contract import hostile

        with hostile.trying(path) as trial:

            def check(runtime: Runtime) -> None:
                check_photo_signatures(runtime, path, source.reading, source.labels)
                bad = [str(outcome) for outcome in trial.outcomes() if outcome.is_bad]
                if bad:
                    raise ExportError(
                        f"One request could take the server from everybody, or get a wrong answer: {bad[0]}."
                    )

            yield check


def write_saved_model(
    traced: TracedModel,
    folder: Path,
    *,
    preprocessing: Preprocessing | None = None,
    labels: Sequence[str] | None = None,
) -> None:
    """Write the version folder `folder` (`.../saved_model/1`), ready for a server.

    Kernels are stored as variables, so that a server can share and restore them, and the batch stays open. Beside
    `serving_default` it has the signatures of `photo_signatures`, where the network can have them, and assets.extra
    holds the labels and the warm-up requests.

    Args:
        traced: The network.
        folder: The folder to make.
        preprocessing: How a photo becomes the network's input; None where that is not known.
        labels: Class names in the order of the outputs.

    Raises:
        ExportError: The graph holds what the server's TensorFlow does not know.
    """
    import tensorflow as tf

    from export.formats.signatures import default_signature, photo_signatures
    from export.formats.warmup import write_warmup
    from serving.contract.operators import problems

    module = tf.Module()
    module.weights = traced.variables
    # Reachable as attributes too, because a signature is only a wrapper that calls them.
    module.network = traced.function
    signatures = {DEFAULT_SIGNATURE: default_signature(traced)}
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


def open_saved_model(folder: Path) -> Runtime:
    """Load a SavedModel (the folder that holds saved_model.pb) by its serving_default signature.

    Raises:
        ExportError: It has no such signature, or that has several inputs or outputs.
    """
    import tensorflow as tf

    loaded = tf.saved_model.load(str(folder))
    if DEFAULT_SIGNATURE not in loaded.signatures:
        signatures = ", ".join(loaded.signatures) or "none"
        raise ExportError(f"The SavedModel has no signature {DEFAULT_SIGNATURE!r} (found: {signatures}).")
    function = loaded.signatures[DEFAULT_SIGNATURE]
    source = only(function.structured_input_signature[1].items(), "input")
    target = only(function.structured_outputs.items(), "output")

    def run(images: np.ndarray) -> np.ndarray:
        # `loaded` owns the variables that the signature reads, so it has to live as long as this function.
        assert loaded is not None
        return function(**{source[0]: tf.constant(images)})[target[0]].numpy()

    def open_tap() -> Tap | None:
        # A reloaded signature only calls the function that `write_saved_model` keeps beside it, whose operations can
        # be walked. Its graph is imported again, on the same variables.
        network = loaded.network
        operation = network.outputs[0].op
        while operation.type in ("Identity", "Reshape", "Squeeze", "Cast"):
            operation = operation.inputs[0].op
        if operation.type != "Softmax":
            return None
        graph_def, names = network.graph.as_graph_def(), [network.outputs[0].name, operation.inputs[0].name]
        captured = {inner.name: outer for outer, inner in network.graph.captures}

        @tf.function(input_signature=[source[1]], autograph=False)
        def tapped(images: tf.Tensor) -> list[tf.Tensor]:
            here = tf.compat.v1.get_default_graph()
            fed = {name: here.capture(variable) for name, variable in captured.items()} | {f"{source[0]}:0": images}
            return tf.import_graph_def(graph_def, fed, names, name="")

        def run_tapped(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            output, logits = tapped(tf.constant(images))
            return output.numpy(), logits.numpy()

        return run_tapped

    source_spec, target_spec = (
        TensorSpec(name, tuple(spec.shape), spec.dtype.name)  # an open dimension is None
        for name, spec in (source, target)
    )
    return Runtime(source_spec, target_spec, run, open_tap, module=loaded)
