"""Hold the photo signatures of a written SavedModel against Pillow, the Python preprocessing and the network itself.

The network's own signature is verified like every other artifact; here it is the reference. Fail closed: what does not
agree is not published.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
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
    if BYTES_SIGNATURE in runtime.module.signatures and preprocessing is not None:
        photos = list(_photos(runtime.input.shape, preprocessing))
        prepared = _check_prepared(runtime.module, photos, preprocessing)
        outputs = _outputs(runtime, prepared)
        for name, place, answer in _answers(runtime.module, photos):
            _check_answer(name, answer, outputs[name][place], labels)
    _check_warmup(runtime.module, folder)


@dataclass(frozen=True)
class _Photo:
    """A photo to ask with.

    Attributes:
        title: What messages call it.
        file: As JPEG or PNG.
        pixels: What is in the file, uint8 [height, width, channels].
        expected: What Python prepares, float32 [height, width, channels].
    """

    title: str
    file: bytes
    pixels: np.ndarray
    expected: np.ndarray


def _photos(shape: tuple[int | None, ...], preprocessing: Preprocessing) -> Iterator[_Photo]:
    """Make photos of several sizes, the files of one size one after another."""
    from PIL import Image

    from export.checking.parity import synthetic_images

    _, height, width, _ = shape
    assert height is not None
    assert width is not None
    gray = preprocessing.channel_order == "gray"
    for seed, (down, across) in enumerate(_SIZES):
        size = (None, max(8, round(height * down)), max(8, round(width * across)), 3)
        levels = synthetic_images(size, 1, seed=seed, low=0.0, high=255.0)[0]
        image = Image.fromarray(np.round(levels).astype(np.uint8))
        for kind in ("JPEG", "PNG"):
            file = _encoded(image, kind)
            with Image.open(io.BytesIO(file)) as opened:
                expected = preprocessing.load(opened)
                pixels = np.asarray(opened.convert("L" if gray else "RGB"))
            title = f"{kind} of {image.width}x{image.height}"
            yield _Photo(title, file, pixels[..., None] if gray else pixels, expected)


def _check_prepared(loaded: Any, photos: Sequence[_Photo], preprocessing: Preprocessing) -> dict[str, np.ndarray]:
    """Check what the graph makes of photos; return it by signature, in the order of the photos."""
    sizes = [photos[i : i + 2] for i in range(0, len(photos), 2)]
    arrays = [loaded.prepare_uint8(np.stack([photo.pixels for photo in size])).numpy() for size in sizes]
    files = [photo.file for photo in photos]
    prepared = {UINT8_SIGNATURE: np.concatenate(arrays), BYTES_SIGNATURE: loaded.prepare_bytes(files)[0].numpy()}
    for name, pixels in prepared.items():
        for photo, image in zip(photos, pixels, strict=True):
            _check_pixels(f"{name}, {photo.title}", image, photo.expected, preprocessing)
    return prepared


def _outputs(runtime: Runtime, prepared: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return what the network answers to prepared photos; to photos that are the same but for a rounding once."""
    files, pixels = prepared[BYTES_SIGNATURE], prepared[UINT8_SIGNATURE]
    outputs = runtime.predict(files)
    others = outputs.copy()
    different = [i for i, pair in enumerate(zip(files, pixels, strict=True)) if not np.allclose(*pair, atol=1e-5)]
    if different:
        others[different] = runtime.predict(pixels[different])
    return {BYTES_SIGNATURE: outputs, UINT8_SIGNATURE: others}


def _answers(loaded: Any, photos: Sequence[_Photo]) -> Iterator[tuple[str, int, dict[str, np.ndarray]]]:
    """Yield the name of a signature, the place of a photo, and what the signature answers to it.

    Raises:
        ExportError: A file that cannot be read gets an answer.
    """
    for i in range(0, len(photos), 2):  # those of one size
        answers = _call(loaded.signatures[UINT8_SIGNATURE], np.stack([photo.pixels for photo in photos[i : i + 2]]))
        for place in (0, 1):
            yield UINT8_SIGNATURE, i + place, {key: values[place] for key, values in answers.items()}
    # Among files that cannot be read, which must say so and leave the answers to the others as they are.
    good = photos[0].file
    files = [b"", *(photo.file for photo in photos), good[: len(good) // 2], b"no image"]
    answers = _call(loaded.signatures[BYTES_SIGNATURE], files)
    ids = answers["top_ids"]
    if not (ids[[0, -2, -1]] == NOT_READABLE).all():
        raise ExportError(f"{BYTES_SIGNATURE}: files that cannot be read are answered; the classes are {ids}.")
    for place in range(len(photos)):
        yield BYTES_SIGNATURE, place, {key: values[place + 1] for key, values in answers.items()}


def _check_pixels(where: str, pixels: np.ndarray, expected: np.ndarray, preprocessing: Preprocessing) -> None:
    if pixels.shape != expected.shape:
        raise ExportError(f"{where}: the graph prepares {pixels.shape}, Python prepares {expected.shape}.")
    levels = np.abs(pixels - expected) * np.asarray(preprocessing.std, np.float32)
    far = float((levels > FAR_LEVELS).mean())
    if not (levels.mean() <= MEAN_LEVELS and far <= FAR_SHARE):  # written so that NaN fails
        raise ExportError(
            f"{where}: the graph prepares the photo otherwise than Python does, by {levels.mean():.2f} of 255 levels "
            f"on average (at most {MEAN_LEVELS}), and by more than one level at {100 * far:.1f} % of the values (at "
            f"most {100 * FAR_SHARE:.0f} %)."
        )


def _check_answer(name: str, answer: dict[str, np.ndarray], outputs: np.ndarray, labels: Sequence[str] | None) -> None:
    ids, scores = answer["top_ids"], answer["top_scores"]
    best = np.sort(outputs)[::-1][: len(ids)]
    scale = max(1.0, float(np.abs(outputs).max()))
    if not (np.abs(scores - best) <= SCORE_TOLERANCE * scale).all():
        raise ExportError(f"{name}: its scores {scores} are not the highest of the network's, {best}.")
    if not (np.abs(outputs[ids] - scores) <= SCORE_TOLERANCE * scale).all():
        raise ExportError(f"{name}: the classes {ids} do not have the scores {scores} but {outputs[ids]}.")
    if labels is not None:
        expected = [labels[i] for i in ids]
        names = [label.decode() for label in answer["top_labels"]]
        if names != expected:
            raise ExportError(f"{name}: the classes {ids} are labeled {names} and should be {expected}.")


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


def _call(signature: Any, value: Any) -> dict[str, np.ndarray]:
    import tensorflow as tf

    ((name, spec),) = signature.structured_input_signature[1].items()
    return {key: tensor.numpy() for key, tensor in signature(**{name: tf.constant(value, spec.dtype)}).items()}


def _encoded(image: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()
