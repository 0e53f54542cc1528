"""An artifact in an opened page, behind the record that every runtime has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from export.checking.runtimes import Runtime, Tap, TensorSpec
from export.web.browser import Tab, to_numbers, to_text

if TYPE_CHECKING:
    from export.manifest import Artifact

_LOAD = """async (artifact) => {
    const { open } = await import('./runtimes.js');
    (globalThis.loaded ??= {})[artifact.path] = await open(artifact);
}"""
_RUN = """async ([path, text]) => {
    const input = new Float32Array(toBytes(text).buffer);
    const started = performance.now();
    const outputs = await globalThis.loaded[path].run(input);
    const milliseconds = performance.now() - started;
    return [milliseconds, outputs.map(toText)];
}"""


class Answer(NamedTuple):
    """The outputs for one image, flat, and how long they took."""

    outputs: list[np.ndarray]
    milliseconds: float


Run = Callable[[np.ndarray], Answer]


@dataclass(frozen=True)
class InPage:
    """One artifact in an opened page, on one back end of its runtime.

    Attributes:
        tab: The page.
        folder: What it is served from.
        artifact: What is known of the artifact.
        back_end: "wasm" or "webgpu".
    """

    tab: Tab
    folder: Path
    artifact: Artifact
    back_end: str = "wasm"

    def load(self, name: str, content: bytes) -> Run:
        """Load the artifact, or a copy of it that gives something else.

        Args:
            name: What it is called.
            content: The file.

        Returns:
            How to answer one image [1, height, width, channels].

        Raises:
            playwright.sync_api.Error: The runtime does not take it.
        """
        name = f"{name}_{self.back_end}.{self.artifact.format}"
        (self.folder / name).write_bytes(content)
        row = {"path": name, "format": self.artifact.format, "back_end": self.back_end}
        self.tab.evaluate(_LOAD, {**row, "shape": (1, *self.artifact.input.shape[1:])})

        def run(image: np.ndarray) -> Answer:
            text = to_text(np.ascontiguousarray(image, np.float32).tobytes())
            milliseconds, texts = self.tab.evaluate(_RUN, [name, text])
            return Answer([to_numbers(text) for text in texts], milliseconds)

        return run

    def runtime(self, content: bytes, own: Run) -> Runtime:
        """Return the runtime of the loaded artifact `own`, for one image at a time."""
        from export.formats.onnx_runtime import add_logits
        from export.formats.tflite_runtime import give_logits

        source, target = self.artifact.input, self.artifact.output
        order, step, copy = None, 0.0, bytearray(content)
        if self.artifact.format == "tflite":
            has_softmax, step = give_logits(copy)
        else:
            tapped, logits, order = add_logits(content, target.name)
            copy, has_softmax = bytearray(tapped), logits is not None
        shape = [1, *(size or 1 for size in target.shape[1:])]

        def shaped(values: np.ndarray, order: list[int] | None = None) -> np.ndarray:
            if order is None:
                return values.reshape(shape)
            inside = [shape[order.index(axis)] for axis in range(len(shape))]
            return values.reshape(inside).transpose(order)

        def open_tap() -> Tap | None:
            if not has_softmax:
                return None
            tapped = self.load("logits", bytes(copy))
            return lambda image: (shaped(own(image).outputs[0]), shaped(tapped(image).outputs[-1], order))

        return Runtime(
            TensorSpec(source.name, (1, *source.shape[1:]), source.dtype),
            target,
            lambda image: shaped(own(image).outputs[0]),
            open_tap,
            output_step=step,
        )
