"""The page of an export, as a reader's browser shows it: the right answer, nothing asked of anybody else, readable."""

import base64
import hashlib
import json
import re
import shutil
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image

from export.web.browser import serving
from export.web.checking import check_page
from export.web.page import FILES
from kerascnn.photos.preprocessing import Preprocessing
from kerascnn.photos.runtimes import open_artifact
from tests.export.web.conftest import LABELS
from tests.pages import DESKTOP, PHONE

READING = Preprocessing.named("torch", (20, 24, 3))


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    path = tmp_path_factory.mktemp("photo") / "photo.png"
    pixels = np.random.default_rng(7).integers(0, 256, (61, 83, 3), np.uint8)
    Image.fromarray(pixels).resize((300, 200)).save(path)
    return path


@contextmanager
def shown(browser, folder, width=DESKTOP, scheme="light", **options):
    """The page, ready for a photo. Afterwards: the console is empty, and nobody else was asked for anything."""
    said, asked = [], []
    with serving(folder) as address:
        context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme, **options)
        page = context.new_page()
        page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"{address}index.html")
        wait(page, "Choose a photo.")
        try:
            yield page
        finally:
            context.close()
    assert said == []
    assert [url for url in asked if not url.startswith((address, "blob:", "data:"))] == []


def wait(page, text):
    page.locator("#status", has_text=text).wait_for(timeout=20_000)


def answers(page):
    """What the page shows: names and percentages."""
    shown = [item.inner_text().split("\n") for item in page.locator("#guesses li").all()]
    return [(lines[0], float(lines[1].removesuffix(" %"))) for lines in shown]


def test_every_artifact_answers_as_it_does_in_python(browser, exported, photo):
    with Image.open(photo) as image:
        prepared = READING.load(image)[None]
    rows = json.loads((exported.page / "model.json").read_text())["artifacts"]
    assert [row["title"] for row in rows] == ["LiteRT.js float32", "ONNX Runtime Web float32"]
    with shown(browser, exported.page) as page:
        page.set_input_files("#file", photo)
        for number, row in enumerate(rows):
            page.select_option("#artifact", str(number))
            wait(page, f"{row['title']} answered.")
            expected = open_artifact(exported.page / row["path"]).run(prepared)[0]
            order = np.argsort(-expected, kind="stable")[:5]
            got = answers(page)
            assert [name for name, _ in got] == [LABELS[index] for index in order]
            assert [percent for _, percent in got] == pytest.approx(100 * expected[order], abs=0.06)
            assert re.fullmatch(r"\d+\.\d ms", page.locator("#answered").inner_text())


def test_the_page_is_readable_and_labeled(browser, exported, photo):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    for width, scheme in ((PHONE, "dark"), (DESKTOP, "light")):
        with shown(browser, exported.page, width, scheme, bypass_csp=True) as page:
            page.set_input_files("#file", photo)
            wait(page, "answered.")
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            found = axe.Axe().run(page)
            assert found.violations_count == 0, found.generate_report()


def test_what_is_no_photo_is_said_and_forgotten(browser, exported, photo, tmp_path):
    (tmp_path / "text.png").write_text("no photo")
    with shown(browser, exported.page) as page:
        page.set_input_files("#file", tmp_path / "text.png")
        wait(page, "This browser cannot read that file as a photo.")
        assert answers(page) == []
        page.set_input_files("#file", photo)
        wait(page, "answered.")
        assert len(answers(page)) == 5


def test_a_photo_is_dropped(browser, exported, photo):
    content = base64.b64encode(photo.read_bytes()).decode()
    with shown(browser, exported.page) as page:
        page.evaluate(
            """(text) => {
                const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
                const dataTransfer = new DataTransfer();
                dataTransfer.items.add(new File([bytes], "dropped.png"));
                document.body.dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }));
            }""",
            content,
        )
        wait(page, "answered.")
        assert page.locator("#preview").get_attribute("alt") == "The photo dropped.png"


def test_the_camera_takes_a_photo(browser, exported):
    flags = ["--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    from export.web.browser import program

    filming = browser.browser_type.launch(executable_path=program(), args=flags)
    with shown(filming, exported.page, permissions=["camera"]) as page:
        page.get_by_role("button", name="Use the camera").click()
        page.get_by_role("button", name="Take the photo").click()
        wait(page, "answered.")
        assert not page.locator("#video").is_visible()
        assert len(answers(page)) == 5
    filming.close()


@pytest.mark.slow
def test_a_proven_gpu_is_offered(browser, exported, photo, tmp_path):
    from export.web.browser import ARGUMENTS, program

    folder = tmp_path / "web"
    shutil.copytree(exported.page, folder)
    model = json.loads((folder / "model.json").read_text())
    model["artifacts"].append({**model["artifacts"][0], "back_end": "webgpu", "title": "LiteRT.js float32, GPU"})
    (folder / "model.json").write_text(json.dumps(model))
    flags = ["--no-sandbox", *ARGUMENTS, "--use-webgpu-adapter=swiftshader"]
    with_gpu = browser.browser_type.launch(executable_path=program(), args=flags)
    with shown(with_gpu, folder) as page:
        page.set_input_files("#file", photo)
        wait(page, "LiteRT.js float32 answered.")
        before = answers(page)
        page.select_option("#artifact", "2")
        wait(page, "LiteRT.js float32, GPU answered.")
        assert answers(page) == before
    with_gpu.close()


def test_a_refused_camera_is_said(browser, exported):
    with shown(browser, exported.page) as page:
        page.get_by_role("button", name="Use the camera").click()
        wait(page, "There is no camera, or it was not allowed")


def test_the_policy_forbids_requests_to_others(browser, exported):
    with serving(exported.page) as address:
        page = browser.new_page()
        page.goto(f"{address}index.html")
        blocked = page.evaluate(
            """() => new Promise((resolve) => {
                document.addEventListener("securitypolicyviolation", (event) => resolve(event.violatedDirective));
                fetch("http://127.0.0.1:9/").catch(() => {});
            })"""
        )
        page.close()
    assert blocked == "connect-src"


def test_the_policy_allows_the_import_map_of_the_page():
    text = (FILES / "index.html").read_text()
    imports = re.search(r'<script type="importmap">(.*?)</script>', text).group(1)
    assert f"sha256-{base64.b64encode(hashlib.sha256(imports.encode()).digest()).decode()}" in text


@pytest.mark.parametrize(
    ("file", "old", "new", "says"),
    [
        pytest.param("photos.js", "", "", "", id="nothing", marks=pytest.mark.slow),
        pytest.param("photos.js", '=== "bgr"', '=== "rgb"', "prepared otherwise than in Python", id="channels"),
        pytest.param("model.json", '"red"', '"crimson"', "shows the classes", id="labels"),
        pytest.param("model.json", "58.395", "60.395", "prepared otherwise", id="scale", marks=pytest.mark.slow),
        pytest.param(
            "page.js",
            "describe();",
            "describe(); console.log(1);",
            "The page says: log: 1",
            id="console",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "index.html",
            'href="data:,"',
            'href="http://127.0.0.1:9/"',
            "The page says: error: Loading the image",
            id="request",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_planted_faults_are_caught(exported, tmp_path, file, old, new, says):
    page = tmp_path / "web"
    shutil.copytree(exported.page, page)
    text = (page / file).read_text()
    assert old in text
    (page / file).write_text(text.replace(old, new))
    proof = check_page(page, READING, LABELS)
    assert proof.status == ("wrong" if says else "proven"), proof
    assert says in proof.reason
