"""One version of a model in memory: a SavedModel in a session of its own, as the real server holds it.

A session, rather than `tf.saved_model.load`: it works by the same signature definitions, takes a deadline for each run,
and gives back its memory and its batching threads when it is closed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from serving.contract import DEFAULT_SIGNATURE
from serving.development.runtime.batching import Batching, batched, check_rows, pad, unpad
from serving.development.statuses import Code, StatusError, from_tensorflow, invalid

if TYPE_CHECKING:
    import tensorflow as tf
    from tensorflow.core.protobuf.meta_graph_pb2 import MetaGraphDef, SignatureDef

_INIT_SIGNATURE = "__saved_model_init_op"


@dataclass(frozen=True)
class Signature:
    """A signature that can be run."""

    definition: SignatureDef  # as the SavedModel has it
    inputs: Mapping[str, tf.Tensor]  # placeholders
    outputs: Mapping[str, tf.Tensor]  # behind the batching scheduler if there is one
    is_batched: bool

    def dtypes(self) -> dict[str, str]:
        """Return the type of each input by TensorFlow's name in messages, such as `float` or `half`."""
        from tensorflow.core.framework.types_pb2 import DataType

        names = {name: DataType.Name(info.dtype) for name, info in self.definition.inputs.items()}
        return {name: dtype.removeprefix("DT_").lower() for name, dtype in names.items()}


class Servable:
    """A loaded SavedModel. `run` may be called from many threads; `close` only after the last run."""

    def __init__(self, folder: Path, batching: Batching | None = None) -> None:
        """Load the SavedModel in `folder`; raise a StatusError that says why if it cannot be loaded."""
        import tensorflow as tf

        self._batching = batching
        self._graph = tf.Graph()
        self._session = tf.compat.v1.Session(graph=self._graph)
        try:
            with self._graph.as_default():
                self.meta_graph = self._load(folder)
                self.signatures = self._find_signatures(batching)
            self._graph.finalize()
        except BaseException:
            self.close()
            raise

    def signature(self, name: str) -> Signature | None:
        """Return the signature of that name, the default one for ""; None if there is none."""
        return self.signatures.get(name or DEFAULT_SIGNATURE)

    def run(
        self,
        signature: Signature,
        inputs: Mapping[str, np.ndarray],
        outputs: Sequence[str] = (),
        *,
        timeout: float | None = None,
    ) -> dict[str, np.ndarray]:
        """Return the outputs (all, or those named) for `inputs`, within `timeout` seconds.

        What the scheduler cannot batch runs by itself, padded and with the same demands.
        """
        rows = check_rows(inputs, self._batching) if self._batching is not None else 0
        for name, value in inputs.items():
            _check(name, value, signature.inputs[name])
        if self._batching is None or signature.is_batched:
            return self._run(signature, inputs, outputs, timeout)
        padded, size = pad(inputs, rows, self._batching)
        return unpad(self._run(signature, padded, outputs, timeout), rows, size)

    def _run(
        self, signature: Signature, inputs: Mapping[str, np.ndarray], outputs: Sequence[str], timeout: float | None
    ) -> dict[str, np.ndarray]:
        import tensorflow as tf

        feeds = {signature.inputs[name]: value for name, value in inputs.items()}
        fetches = {name: signature.outputs[name] for name in outputs or signature.outputs}
        options = tf.compat.v1.RunOptions(timeout_in_ms=max(1, int(timeout * 1000)) if timeout is not None else 0)
        try:
            answers = self._session.run(fetches, feeds, options=options)
        except tf.errors.OpError as error:
            raise from_tensorflow(error) from error
        except RuntimeError as error:  # the session is closed: this version was unloaded
            raise StatusError(Code.UNAVAILABLE, "The model is being unloaded.") from error
        # A string without dimensions comes as bytes, a number as one of NumPy's scalars.
        return {
            name: np.array(value, dtype=object) if isinstance(value, bytes) else np.asarray(value)
            for name, value in answers.items()
        }

    def close(self) -> None:
        """Give back memory and threads."""
        self._session.close()

    def _load(self, folder: Path) -> MetaGraphDef:
        import tensorflow as tf

        if not (folder / "saved_model.pb").is_file():
            raise StatusError(
                Code.NOT_FOUND, f"Could not find SavedModel .pb at supplied export directory path: {folder}"
            )
        try:
            return tf.compat.v1.saved_model.loader.load(self._session, ["serve"], str(folder))
        except tf.errors.OpError as error:
            raise from_tensorflow(error) from error
        # The loader raises many kinds of errors: a truncated file must not end the server.
        except Exception as error:
            raise StatusError(Code.INTERNAL, f"{folder} cannot be loaded: {str(error)[:300]}") from error

    def _find_signatures(self, batching: Batching | None) -> dict[str, Signature]:
        signatures = {}
        for name, definition in self.meta_graph.signature_def.items():
            if name == _INIT_SIGNATURE:
                continue
            inputs = {key: self._tensor(info.name) for key, info in definition.inputs.items()}
            outputs = {key: self._tensor(info.name) for key, info in definition.outputs.items()}
            merged = None
            if batching is not None and inputs and outputs:
                merged = batched(list(inputs.values()), list(outputs.values()), batching, queue=name)
                outputs = dict(zip(outputs, merged, strict=True)) if merged else outputs
            signatures[name] = Signature(definition, inputs, outputs, merged is not None)
        return signatures

    def _tensor(self, name: str) -> tf.Tensor:
        try:
            return self._graph.get_tensor_by_name(name)
        except (KeyError, ValueError) as error:
            raise invalid(f"The signatures name a tensor that does not exist: {name}") from error


def _check(name: str, value: np.ndarray, placeholder: tf.Tensor) -> None:
    wanted = placeholder.dtype.name
    given = "string" if value.dtype.kind in "OS" else value.dtype.name
    if (wanted == "string") != (given == "string") or (
        given != "string" and value.dtype != placeholder.dtype.as_numpy_dtype
    ):
        raise invalid(f"Input {name} is {given}; the model takes {wanted}.")
    if not placeholder.shape.is_compatible_with(value.shape):
        raise invalid(f"Input {name} has the shape {list(value.shape)}; the model takes {placeholder.shape}.")
