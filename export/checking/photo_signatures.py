"""Hold the photo signatures of a written SavedModel against Pillow, the Python preprocessing and the network itself.

The network's own signature is verified like every other artifact; here it is the reference. Fail closed: what does not
agree is not published.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from export.errors import ExportError
from serving.contract import BYTES_SIGNATURE, NOT_READABLE, UINT8_SIGNATURE

if TYPE_CHECKING:
    from PIL import Image

    from export.checking.runtimes import Runtime
    from kerascnn.photos.preprocessing import Preprocessing

# In levels of 255. Photos come out far closer (see export/formats/photos.py); a wrong channel order, crop, kernel or
# normalization comes out at tens.
MEAN_LEVELS = 0.5
FAR_LEVELS, FAR_SHARE = 1.01, 0.01
SCORE_TOLERANCE = 1e-4
_SIZES = ((1.3, 1.9), (2.1, 1.2), (0.7, 0.8))  # height and width of the photos, by those of the input


def check_photo_signatures(
    runtime: Runtime, folder: Path, preprocessing: Preprocessing | None, labels: Sequence[str] | None
) -> None:
    """Check the signatures and the warm-up requests of the version folder `folder`, which `runtime` has loaded.

    Args:
        runtime: The loaded SavedModel.
        folder: Its version folder.
        preprocessing: How a photo becomes the input of `serving_default`.
        labels: Class names in the order of the outputs.

    Raises:
        ExportError: One of them answers otherwise than Python does; the message says which and by how much.
    """
    loaded = runtime.module
    if BYTES_SIGNATURE in loaded.signatures and preprocessing is not None:
        for image in _photos(runtime.input.shape, preprocessing):
            _check_photo(runtime, image, preprocessing, labels)
        _check_bad_files(loaded, runtime.input.shape, preprocessing)
    _check_warmup(loaded, folder)


def _photos(shape: tuple[int | None, ...], preprocessing: Preprocessing) -> list[Image.Image]:
    from PIL import Image

    from export.checking.parity import synthetic_images

    _, height, width, _ = shape
    assert height is not None
    assert width is not None
    found = []
    for seed, (down, across) in enumerate(_SIZES):
        size = (None, max(8, round(height * down)), max(8, round(width * across)), 3)
        pixels = synthetic_images(size, 1, seed=seed, low=0.0, high=255.0)[0]
        found.append(Image.fromarray(np.round(pixels).astype(np.uint8)))
    return found


def _check_photo(
    runtime: Runtime, image: Image.Image, preprocessing: Preprocessing, labels: Sequence[str] | None
) -> None:
    from PIL import Image

    loaded = runtime.module
    for kind in ("JPEG", "PNG"):
        file = _encoded(image, kind)
        with Image.open(io.BytesIO(file)) as opened:
            expected = preprocessing.load(opened)
            gray = preprocessing.channel_order == "gray"
            pixels = np.asarray(opened.convert("L" if gray else "RGB"))
        pixels = pixels[None, ..., None] if gray else pixels[None]
        prepared = {
            UINT8_SIGNATURE: loaded.prepare_uint8(pixels).numpy(),
            BYTES_SIGNATURE: loaded.prepare_bytes([file])[0].numpy(),
        }
        inputs: dict[str, Any] = {UINT8_SIGNATURE: pixels, BYTES_SIGNATURE: [file]}
        for name, found in prepared.items():
            _check_pixels(f"{name}, {kind} of {image.width}x{image.height}", found[0], expected, preprocessing)
            answer = {key: value.numpy() for key, value in _call(loaded.signatures[name], inputs[name]).items()}
            _check_answer(name, answer, runtime.predict(found)[0], labels)


def _check_pixels(where: str, found: np.ndarray, expected: np.ndarray, preprocessing: Preprocessing) -> None:
    if found.shape != expected.shape:
        raise ExportError(f"{where}: the graph prepares {found.shape}, Python prepares {expected.shape}.")
    levels = np.abs(found - expected) * np.asarray(preprocessing.std, np.float32)
    far = float((levels > FAR_LEVELS).mean())
    if not (levels.mean() <= MEAN_LEVELS and far <= FAR_SHARE):  # written so that NaN fails
        raise ExportError(
            f"{where}: the graph prepares the photo otherwise than Python does, by {levels.mean():.2f} of 255 levels "
            f"on average (at most {MEAN_LEVELS}), and by more than one level at {100 * far:.1f} % of the values (at "
            f"most {100 * FAR_SHARE:.0f} %)."
        )


def _check_answer(name: str, answer: dict[str, np.ndarray], outputs: np.ndarray, labels: Sequence[str] | None) -> None:
    ids, scores = answer["top_ids"][0], answer["top_scores"][0]
    best = np.sort(outputs)[::-1][: len(ids)]
    scale = max(1.0, float(np.abs(outputs).max()))
    if not (np.abs(scores - best) <= SCORE_TOLERANCE * scale).all():
        raise ExportError(f"{name}: its scores {scores} are not the highest of the network's, {best}.")
    if not (np.abs(outputs[ids] - scores) <= SCORE_TOLERANCE * scale).all():
        raise ExportError(f"{name}: the classes {ids} do not have the scores {scores} but {outputs[ids]}.")
    if labels is not None:
        expected = [labels[i] for i in ids]
        found = [label.decode() for label in answer["top_labels"][0]]
        if found != expected:
            raise ExportError(f"{name}: the classes {ids} are labeled {found} and should be {expected}.")


def _check_bad_files(loaded: Any, shape: tuple[int | None, ...], preprocessing: Preprocessing) -> None:
    """A file that cannot be read must say so, and leave the answers to the others as they are."""
    good = _encoded(_photos(shape, preprocessing)[0], "JPEG")
    signature = loaded.signatures[BYTES_SIGNATURE]
    alone = _call(signature, [good])
    mixed = _call(signature, [b"", good, good[: len(good) // 2], b"no image"])
    ids = mixed["top_ids"].numpy()
    if not (ids[[0, 2, 3]] == NOT_READABLE).all() or not np.allclose(
        mixed["top_scores"].numpy()[1], alone["top_scores"].numpy()[0], atol=SCORE_TOLERANCE
    ):
        raise ExportError(f"{BYTES_SIGNATURE}: files that cannot be read change the answers; the classes are {ids}.")


def _check_warmup(loaded: Any, folder: Path) -> None:
    from serving.contract.warmup import answer, read_warmup

    seen = set()
    for request in read_warmup(folder):
        if request.signature in seen:
            continue
        seen.add(request.signature)
        try:
            answer(loaded, request)
        except Exception as error:  # whatever TensorFlow raises; a server would refuse to load the model
            raise ExportError(f"The warm-up request for {request.signature} fails: {error}") from error
    missing = set(loaded.signatures) - seen
    if missing:
        raise ExportError(f"There is no warm-up request for {', '.join(sorted(missing))}.")


def _call(signature: Any, value: Any) -> dict[str, Any]:
    import tensorflow as tf

    ((name, spec),) = signature.structured_input_signature[1].items()
    return signature(**{name: tf.constant(value, spec.dtype)})


def _encoded(image: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()
