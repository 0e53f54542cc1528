"""Every code block of the README and of the documentation runs, or says why it does not.

Python blocks of a page run in order and share their names. A block that names photos or data gets small ones that are
made here, and random weights in place of those that would be fetched. Commands are parsed by their command lines;
exports also run as `--dry-run`, and what is quick or what a page builds on really runs.
"""

from __future__ import annotations

import ast
import io
import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from export.web.packages import PACKAGES, packages_for
from kerascnn.build_info import BuildInfo, set_build_info
from kerascnn.photos.preprocessing import Preprocessing
from tests.docs.blocks import PAGES, ROOT, Block, WithoutFetching, blocks, check, commands, parse

# Python blocks that take longer than a few seconds, or build large networks
SLOW = {"compression.md", "ensembles.md", "analysis.md", "training.md", "fine_tuning.md"}
# Pages whose commands really run, because later blocks read what they write
RUN = {"first_steps.md"}


def of_many_kinds(photo: Image.Image) -> list[bytes]:
    """Files of one photo in different sizes and modes, and one that says how it is turned upright."""
    width, height = photo.size
    exif = Image.Exif()
    exif[0x0112] = 8
    kinds: list[tuple[Image.Image, dict[str, Any]]] = [
        (photo.resize((3 * width, 3 * height), Image.Resampling.LANCZOS), {}),
        (photo.convert("RGBA"), {}),
        (photo.convert("P", palette=Image.Palette.ADAPTIVE), {"transparency": 0}),
        (photo.transpose(Image.Transpose.ROTATE_270), {"exif": exif.tobytes()}),
    ]
    files = []
    for image, options in kinds:
        file = io.BytesIO()
        image.save(file, "PNG", **options)
        files.append(file.getvalue())
    return files


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.fixture(scope="session")
def materials(tmp_path_factory) -> Path:
    """A folder with the files that pages name."""
    folder = tmp_path_factory.mktemp("materials")
    draw = np.random.default_rng(0)
    for part in ("photos", "photos/0", "photos/1"):
        (folder / part).mkdir()
    for i in range(8):
        photo = Image.fromarray(draw.integers(0, 256, (80, 96, 3), dtype=np.uint8))
        photo.save(folder / f"photos/{i % 2}/{i}.png")
    for name in ("cat.jpg", "dog.jpg", "photo.jpg"):
        photo.save(folder / name)
    (folder / "holiday").mkdir()
    for number, kind in enumerate(of_many_kinds(photo)):
        (folder / f"holiday/{number}.png").write_bytes(kind)
    for name, copies in (("photos.zip", 1), ("others.zip", 1), ("cifar10.zip", 20)):  # a batch of a recipe is 128
        with zipfile.ZipFile(folder / name, "w") as archive:
            for path in sorted(folder.glob("photos/?/*.png")):
                for i in range(copies):
                    archive.write(path, f"{path.parent.name}/{i}{path.name}")
    digits = {"x": draw.integers(0, 256, (20, 28, 28), dtype=np.uint8), "y": np.arange(20) % 10}
    np.savez(folder / "mnist.npz", **{f"{name}_{part}": digits[name] for name in "xy" for part in ("train", "test")})
    for package in packages_for(list(PACKAGES)):
        for file in (folder / "node_modules" / package.name / name for name in package.files):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text('{"version": "1.0"}')
    (folder / "labels.txt").write_text("\n".join(f"class {i}" for i in range(10)))
    model = keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Flatten(), keras.layers.Dense(10, "softmax")])
    known = BuildInfo(preprocessing=Preprocessing.named("unit", (32, 32, 3)), labels=tuple("0123456789"))
    set_build_info(model, known)  # as of a model that was fine-tuned
    (folder / "my_layers.py").write_text("")
    for name in ("mine.keras", "columns.keras"):
        model.save(folder / name)
    any_size = [keras.Input((None, None, 3)), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(10)]
    keras.Sequential(any_size).save(folder / "own.keras")
    np.savez(folder / "inputs.npz", **{model.inputs[0].name: draw.normal(size=(8, 32, 32, 3)).astype("float32")})
    for run in ("mine", "resnet20"):
        (folder / "runs" / run).mkdir(parents=True)
    network = folder / "runs/resnet20/resnet20_cifar.kdc"
    shutil.copy(ROOT / "kerascnn/data/weights/resnet20_cifar-cifar10.kdc", network)
    (folder / "runs/resnet20/training.json").write_text(json.dumps({"file": network.name}))
    model.save(folder / "runs/mine/mine.keras")
    shutil.copy(folder / "photos.zip", folder / "runs/mine/calibration.zip")
    kept = {"file": "mine.keras", "calibration": {"file": "calibration.zip"}}
    (folder / "runs/mine/run.json").write_text(json.dumps(kept))
    return folder


@pytest.fixture
def folder(materials, tmp_path, monkeypatch) -> Path:
    """A working folder of the page, with the materials."""
    for path in materials.iterdir():
        (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)  # as `python -m` does
    return tmp_path


def names(page: Path) -> dict[str, object]:
    """What the Python blocks of a page take for granted."""
    import kerascnn

    draw = np.random.default_rng(0)
    given: dict[str, object] = {"keras": keras, "kerascnn": kerascnn}
    if page.name == "compression.md":
        model = kerascnn.applications.lenet5(weights="mnist")
        photos = draw.normal(size=(8, 32, 32, 1)).astype("float32")
        batches = tf.data.Dataset.from_tensors((photos, np.arange(8) % 10))
        given |= {"model": model, "photos": photos, "others": photos, "batches": batches}
    elif page.name == "fine_tuning.md":
        given |= {"photos": draw.normal(size=(4, 96, 96, 3)).astype("float32"), "labels": np.arange(4)}
    elif page.name == "ensembles.md":
        photo = Image.fromarray(draw.integers(0, 256, (64, 80, 3), dtype=np.uint8))
        given |= {"photo": photo, "photos": [photo]}
    return given


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_python_blocks_are_python(page):
    for block in blocks(page):
        if block.language == "python":
            compile(block.code, str(block), "exec")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
@pytest.mark.usefixtures("folder")
def test_commands_are_taken(page):
    for block in blocks(page):
        assert block.language in ("python", "sh", "text") or block.reason, f"{block}: {block.language}"
        if block.language == "sh":
            for words in commands(block.code):
                assert check(words) or block.reason, f"{block} cannot be checked: {' '.join(words)}"


RUNNING = [page for page in PAGES if any(block.language == "python" for block in blocks(page))]


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=name_of(page), marks=pytest.mark.slow)
        if page.name in SLOW or page.parent.name == "architectures"
        else pytest.param(page, id=name_of(page))
        for page in RUNNING
    ],
)
# Keras warns of every fit on a tf.data.Dataset, such as the batches that are made here.
@pytest.mark.filterwarnings("ignore:`shuffle=True` was passed")
def test_python_blocks_run(page, folder, request):
    if page.name == "fine_tuning.md":
        request.getfixturevalue("filled_cache")  # a new head needs weights below it
    space = names(page)
    for block in blocks(page):
        if block.language == "sh" and page.name in RUN:
            run_commands(block)
        elif block.language == "python" and not block.reason:
            tree = WithoutFetching().visit(ast.parse("\n" * (block.line - 1) + block.code, str(page)))
            exec(compile(ast.fix_missing_locations(tree), str(page), "exec"), space)
    keras.backend.clear_session()


def run_commands(block: Block) -> None:
    """Run the exports and the quick commands of a block in this process."""
    for words in commands(block.code):
        if words[:2] == ["python", "-m"] or words[0] == "kerascnn":
            package, *arguments = words[2:] if words[0] == "python" else words
            context = parse(package, arguments)
            context.command.invoke(context)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
@pytest.mark.usefixtures("folder")
def test_exports_can_be_done_as_printed(page, monkeypatch, capsys):
    for block in blocks(page):
        for words in commands(block.code) if block.language == "sh" and not block.reason else []:
            if words[0].endswith("python") and words[1:3] == ["-m", "export"] and words[3].startswith("-"):
                context = parse("export", [*words[3:], "--dry-run"])
                context.command.invoke(context)
                assert capsys.readouterr().out, f"{block}: {' '.join(words)}"


@pytest.mark.usefixtures("filled_cache")
def test_the_first_lines_of_the_readme_name_real_photos(data, tmp_path, monkeypatch, capsys):
    """With the published weights, on photos of different sizes, modes and orientations: the class is the right one."""
    (tmp_path / "holiday").mkdir()
    monkeypatch.chdir(tmp_path)
    with zipfile.ZipFile(data / "imagenet_sample_250.zip") as archive:
        file = next(name for name in archive.namelist() if "Model_T" in name)
        (tmp_path / "cat.jpg").write_bytes(archive.read(file))
    for number, content in enumerate(of_many_kinds(Image.open("cat.jpg"))):
        (tmp_path / f"holiday/{number}.png").write_bytes(content)
    first = next(block for block in blocks(ROOT / "README.md") if block.language == "python")
    exec(compile(first.code, str(first), "exec"), {})
    answers = capsys.readouterr().out.splitlines()
    assert [answer.split(": ")[0] for answer in answers] == ["cat.jpg", *(f"holiday/{i}.png" for i in range(4))]
    assert all("Model_T" in answer for answer in answers), answers
