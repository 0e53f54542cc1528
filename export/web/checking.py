"""Try the page itself before it is published: a photo in, prepared as in Python, and an answer with the right names."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from export.proving.proof import Proof
from export.web.browser import Tab, opened, to_numbers, to_text

if TYPE_CHECKING:
    from kerascnn.photos.preprocessing import Preprocessing

LEVEL = 1.0  # of 255, by which a prepared pixel may differ
_CLASSIFY = """async ([text, artifact]) => {
    const { classify } = await import('./page.js');
    const { guesses, probabilities, input, answered } = await classify(new Blob([toBytes(text)]), artifact);
    return [guesses, toText(probabilities), toText(input), answered];
}"""


def check_page(page: Path, reading: Preprocessing, labels: tuple[str, ...] | None) -> Proof:
    """Open the page in Chromium and let each of its artifacts answer a photo.

    Args:
        page: Its folder.
        reading: How Python prepares a photo for the artifacts.
        labels: The class names in the order of the outputs.

    Returns:
        "wrong" where the page prepares the photo otherwise, names classes otherwise, complains on the console or asks
        for something elsewhere; "not run" where there is no browser.
    """
    try:
        with opened(page) as tab:
            return _checked(tab, page, reading, labels)
    except (ImportError, OSError) as error:
        return Proof("web", "", "not run", reason=str(error))


def _checked(tab: Tab, page: Path, reading: Preprocessing, labels: tuple[str, ...] | None) -> Proof:
    from playwright.sync_api import Error

    described = json.loads((page / "model.json").read_text(encoding="utf-8"))
    content, expected = _photo(reading)
    failures, farthest, times = [], 0.0, []
    for artifact in (row for row in described["artifacts"] if row["back_end"] == "wasm"):  # there may be no GPU today
        try:
            guesses, probabilities, prepared, milliseconds = tab.evaluate(_CLASSIFY, [content, artifact])
        except Error as error:
            failures.append(f"{artifact['title']} cannot be run: {str(error).splitlines()[0]}")
            continue
        times.append(milliseconds)
        difference = np.abs(to_numbers(prepared).reshape(expected.shape) - expected) * np.asarray(reading.std)
        farthest = max(farthest, float(difference.max()))
        failures += _misnamed(artifact["title"], guesses, to_numbers(probabilities), labels)
    if not farthest <= LEVEL:  # nor where it is not a number
        failures.append(f"A photo is prepared otherwise than in Python: values differ by {farthest:.3g} of 255.")
    failures += [f"The page says: {text}" for text in tab.said]
    failures += [f"The page asks for {address}." for address in tab.asked]
    return Proof(
        "web",
        tab.version,
        "wrong" if failures else "proven",
        images=1,
        median_ms=float(np.median(times)) if times else None,
        reason=" ".join(failures),
        details={"levels": farthest},
    )


def _photo(reading: Preprocessing) -> tuple[str, np.ndarray]:
    """Return a photo as a PNG file in base64, and what Python makes of it."""
    from PIL import Image

    from export.checking.parity import synthetic_images

    pixels = synthetic_images((293, 389, 3), 1, low=0, high=255)[0]
    image, file = Image.fromarray(pixels.round().astype(np.uint8)), io.BytesIO()
    image.save(file, "PNG")
    return to_text(file.getvalue()), reading.load(image)


def _misnamed(title: str, guesses: Any, probabilities: np.ndarray, labels: tuple[str, ...] | None) -> list[str]:
    """Say what is wrong with the classes that an artifact's answer shows."""
    order = np.argsort(-probabilities, kind="stable")[: len(guesses)]
    wanted = [labels[number] if labels else f"class {number}" for number in order]
    given = [guess["name"] for guess in guesses]
    if given == wanted:
        return []
    return [f"{title} shows the classes {', '.join(given)}; they are {', '.join(wanted)}."]
