"""Requests as an attacker or a broken client sends them, to an export of each family (minutes of CPU time: -m slow)."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from export.formats.saved_model import write_saved_model
from export.tracing.graph import trace
from kerascnn.build_info import build_info
from kerascnn.registry import variants
from serving.contract import hostile
from tests.networks import built
from tests.serving.contract.test_signatures import png_of_zeros
from tests.serving.small import encoded, photo

# The library is 0.7 GB; eight photos of 50 megapixels at a time are 1.2 GB; the rest is weights and activations.
MOST_MEMORY = 4 << 30
MOST_SECONDS = 10  # of the processor; the first request to a signature prepares its graph too
FLOAT, UINT8, STRING = 1, 4, 7
_SMALLEST = {
    record.family: record.name for record in sorted(variants().values(), key=lambda record: -record.parameters)
}


def odd_requests(shape: tuple[int | None, ...]) -> list[hostile.Request]:
    """Requests that are right in rank and type, for a network of this input."""
    _, *sides = shape
    channels = sides[-1]
    good = encoded(photo())

    def floats(what: str, number: float) -> hostile.Request:
        content = (np.float32(number).tobytes(),)
        return hostile.Request("serving_default", what, {"images": hostile.Value(FLOAT, (1, *sides), content)}, False)

    def pixels(what: str, *size: int, is_wrong: bool = False) -> hostile.Request:
        value = hostile.Value(UINT8, (*size, channels), (b"\x80",))
        return hostile.Request("serving_uint8", what, {"images": value}, is_wrong)

    def files(what: str, *content: bytes) -> hostile.Request:
        value = hostile.Value(STRING, (len(content),), content)
        return hostile.Request("serving_bytes", what, {"image_bytes": value}, False)

    return [
        floats("NaN", np.nan),
        floats("infinity", np.inf),
        floats("the largest number", 3.4e38),
        floats("denormal numbers", 1e-45),
        pixels("one pixel", 1, 1, 1),
        pixels("25 megapixels", 1, 5000, 5000),
        pixels("a strip of one pixel in height", 1, 1, 10_000_000, is_wrong=True),
        pixels("a strip of one pixel in width", 1, 10_000_000, 1, is_wrong=True),
        pixels("photos without pixels", 2, 0, 0),
        files("damaged files", b"", b"\xff\xd8\xff", good[:100], good[:-500], b"GIF89a", b"\0" * 1000),
        files("a header that lies", good[:200] + b"\xff" * 200 + good[400:]),
        files("a file of one pixel", encoded(photo(1, 1)), encoded(photo(1, 1), "PNG")),
        files("files of 50 megapixels", *[png_of_zeros(8000, 6250)] * 2),
        files("files of more than that", *[png_of_zeros(30_000, 30_000)] * 2),
        files("a file of 10 MB that is none", b"\xff\xd8\xff" + b"\0" * 10_000_000),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("family", sorted(_SMALLEST))
def test_no_request_ends_or_hangs_a_server(tmp_path, family):
    model = built(_SMALLEST[family])
    traced = trace(model)
    write_saved_model(traced, tmp_path / "1", preprocessing=build_info(model).preprocessing)
    signatures = hostile.read_saved_model(tmp_path / "1").meta_graphs[0].signature_def
    if "serving_bytes" not in signatures:
        pytest.skip("it takes no photos")
    requests = [*hostile.wrong_requests(signatures), *odd_requests(traced.input_shape)]
    with hostile.trying(tmp_path / "1", requests) as trial:
        outcomes = trial.outcomes()
    slowest = max(outcomes, key=lambda outcome: outcome.seconds)
    memory = max(outcome.memory for outcome in outcomes)
    # For the table in docs/serving.md: pytest -rP shows it.
    print(f"| {family} | {slowest.seconds:.1f} | {slowest.request.what} | {memory / 1e9:.1f} |")
    assert [str(outcome) for outcome in outcomes if outcome.is_bad] == []
    assert len(outcomes) == len(requests)
    answered = {outcome.request.what for outcome in outcomes if outcome.kind == "answered"}
    assert {"NaN", "one pixel", "25 megapixels", "damaged files", "files of 50 megapixels"} <= answered
    assert memory < MOST_MEMORY
    assert slowest.seconds < MOST_SECONDS
    keras.backend.clear_session()
