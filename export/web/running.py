"""An artifact in an opened page, behind the record that every runtime has."""

from __future__ import annotations

from collections.abc import Callable
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


def load(tab: Tab, folder: Path, name: str, content: bytes, artifact: Artifact) -> Run:
    """Load a file in the page.

    Args:
        tab: The page.
        folder: What it is served from.
        name: What the file is called there.
        content: The file.
        artifact: What is known of the artifact that it is, or that it is a copy of.

    Returns:
        How to answer one image [1, height, width, channels].

    Raises:
        playwright.sync_api.Error: The runtime does not take it.
    """
    (folder / name).write_bytes(content)
    shape = (1, *artifact.input.shape[1:])
    tab.evaluate(_LOAD, {"path": name, "format": artifact.format, "shape": shape})

    def run(image: np.ndarray) -> Answer:
        text = to_text(np.ascontiguousarray(image, np.float32).tobytes())
        milliseconds, texts = tab.evaluate(_RUN, [name, text])
        return Answer([to_numbers(text) for text in texts], milliseconds)

    return run


def runtime_of(tab: Tab, folder: Path, path: Path, artifact: Artifact, own: Run) -> Runtime:
    """Return the runtime of a loaded artifact, for one image at a time."""
    from export.formats.onnx_runtime import add_logits
    from export.formats.tflite_runtime import give_logits

    content, order, step = bytearray(path.read_bytes()), None, 0.0
    if artifact.format == "tflite":
        has_softmax, step = give_logits(content)
    else:
        tapped, logits, order = add_logits(bytes(content), artifact.output.name)
        content, has_softmax = bytearray(tapped), logits is not None
    shape = [1, *(size or 1 for size in artifact.output.shape[1:])]

    def shaped(values: np.ndarray, order: list[int] | None = None) -> np.ndarray:
        if order is None:
            return values.reshape(shape)
        inside = [shape[order.index(axis)] for axis in range(len(shape))]
        return values.reshape(inside).transpose(order)

    def open_tap() -> Tap | None:
        if not has_softmax:
            return None
        copy = load(tab, folder, f"logits{path.suffix}", bytes(content), artifact)
        return lambda image: (shaped(own(image).outputs[0]), shaped(copy(image).outputs[-1], order))

    return Runtime(
        TensorSpec(artifact.input.name, (1, *artifact.input.shape[1:]), artifact.input.dtype),
        artifact.output,
        lambda image: shaped(own(image).outputs[0]),
        open_tap,
        output_step=step,
    )
