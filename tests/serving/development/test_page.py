"""The page at the root, in a browser without a window."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tensorflow_serving")
pytest.importorskip("uvicorn")
playwright = pytest.importorskip("playwright.sync_api", reason="the browser's driver is not installed: playwright")

from serving.client.images import to_bytes  # noqa: E402
from tests.serving.servers import COLOURS, running  # noqa: E402

DROP = """([data, type]) => {
  const bytes = Uint8Array.from(atob(data), c => c.charCodeAt(0));
  const transfer = new DataTransfer();
  transfer.items.add(new File([bytes], "photo", { type }));
  document.dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true }));
}"""


@pytest.fixture(scope="module")
def server(photo_models: Path, golden_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Models of each kind: one for photos, one that cannot be loaded, one without a signature for photos."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "colours").symlink_to(photo_models / "colours")
    (folder / "tensors").symlink_to(golden_models / "tensors")
    shutil.copytree(golden_models / "half" / "1", folder / "broken" / "1")
    (folder / "broken" / "1" / "saved_model.pb").write_bytes(b"nothing of the kind")
    with running(folder) as (where, _):
        yield where


@pytest.fixture(scope="module")
def page(server: Any, browser: Any) -> Iterator[Any]:
    found = browser.new_page()
    found.problems = []
    found.on("pageerror", lambda error: found.problems.append(str(error)))
    found.on("console", lambda said: found.problems.append(said.text) if said.type == "error" else None)
    found.requested = []
    found.on("request", lambda request: found.requested.append(request.url))
    found.goto(f"http://127.0.0.1:{server.rest_port}/")
    yield found
    found.close()


def drop(page: Any, data: bytes, kind: str) -> None:
    import base64

    page.evaluate(DROP, [base64.b64encode(data).decode(), kind])


def solid(colour: int) -> np.ndarray:
    image = np.full((40, 60, 3), 10, np.uint8)
    image[..., colour] = 245
    return image


@pytest.mark.parametrize("colour", range(3))
def test_a_dropped_photo_shows_its_classes_with_bars(page: Any, colour: int) -> None:
    """Best first, the longest bar on top, and the numbers beside them."""
    drop(page, to_bytes(solid(colour)), "image/jpeg")
    card = page.locator('section[data-model="colours"]')
    card.locator("li span", has_text=COLOURS[colour]).first.wait_for(timeout=30_000)
    playwright.expect(card.locator("li").first).to_contain_text(COLOURS[colour])
    widths = card.locator(".bar i").evaluate_all("bars => bars.map(bar => bar.getBoundingClientRect().width)")
    assert len(widths) == 3
    assert widths == sorted(widths, reverse=True)
    full = card.locator(".bar").first.evaluate("bar => bar.getBoundingClientRect().width")
    said = float(card.locator("li").first.locator("span").nth(1).inner_text().removesuffix(" %"))
    assert widths[0] / full == pytest.approx(said / 100, abs=0.01)
    assert page.locator("#photo").is_visible()


def test_no_photo_is_shown_before_one_is_chosen(page: Any) -> None:
    page.reload()
    assert not page.locator("#photo").is_visible()


def test_a_chosen_file_works_like_a_dropped_one(page: Any, tmp_path: Path) -> None:
    """For keyboards and telephones."""
    path = tmp_path / "photo.png"
    path.write_bytes(to_bytes(solid(1), lossless=True))
    page.locator("#file").set_input_files(path)
    playwright.expect(page.locator('section[data-model="colours"] li').first).to_contain_text("green", timeout=30_000)


def test_every_model_has_its_card_and_says_what_it_cannot_do(page: Any) -> None:
    """A model that failed to load and one that takes no photos are named, with the reason."""
    cards = {card.get_attribute("data-model"): card.inner_text() for card in page.locator("section").all()}
    assert set(cards) == {"broken", "colours", "tensors"}
    assert "Not served" in cards["broken"]
    assert "serving_bytes" in cards["tensors"]


def test_a_file_that_is_no_photo_is_said_to_be_none(page: Any) -> None:
    """In the card, not in a dialog; and the next photo works again."""
    drop(page, b"this is text", "text/plain")
    card = page.locator('section[data-model="colours"]')
    playwright.expect(card).to_contain_text("could not be read", timeout=30_000)
    drop(page, to_bytes(solid(2)), "image/jpeg")
    playwright.expect(card.locator("li").first).to_contain_text("blue", timeout=30_000)


def test_the_page_asks_nobody_else(page: Any, server: Any) -> None:
    """Self-contained: no script, font or picture from anywhere; and nothing went wrong on the way."""
    own = (f"http://127.0.0.1:{server.rest_port}/", "blob:", "data:")
    assert [url for url in page.requested if not url.startswith(own)] == []
    assert page.problems == []


def test_names_cannot_bring_in_a_script() -> None:
    """A folder's name or an error's text stands in the page as data."""
    from serving.development.rest.page import render
    from serving.development.version_table import Table

    class Named(Table):
        def names(self) -> list[str]:
            return ["</script><script>alert(1)</script>"]

    text = render(Named(lambda folder: None))  # type: ignore[arg-type, return-value]
    assert "<script>alert" not in text
    assert text.count("</script>") == 2
