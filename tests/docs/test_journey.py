"""docs/journey.md, command by command: from a folder of photos to a server, whose answers are the network's own."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

import kerascnn
from kerascnn.photos.preprocessing import find_preprocessing
from tests import ROOT, processes

pytestmark = [pytest.mark.slow, pytest.mark.data]

# ImageNet's classes by kind, as numbers of the data set
ANIMALS = {
    "bird": [*range(7, 25), *range(80, 101), *range(127, 147)],
    "reptile": range(25, 69),
    "dog": range(151, 269),
    "insect": range(300, 327),
    "monkey": range(365, 385),
}


def commands() -> list[str]:
    """The commands of the page, in order."""
    text = (ROOT / "docs/journey.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```sh\n(.*?)```", text, re.S)
    return [line for block in blocks for line in block.strip().splitlines()]


def cifar(data: Path, folder: Path) -> None:
    """60 images of each of five classes."""
    with zipfile.ZipFile(data / "cifar10_train.zip") as archive:
        for label in ("airplane", "bird", "cat", "ship", "truck"):
            (folder / label).mkdir(parents=True)
            for i in range(60):
                (folder / label / f"{i}.jpg").write_bytes(archive.read(f"{label}/{i:04}.jpg"))


def animals(data: Path, folder: Path) -> None:
    """The sample photos of five kinds of animals."""
    from kerascnn.data import imagenet_classes

    kinds = {imagenet_classes()[i][0]: kind for kind, numbers in ANIMALS.items() for i in numbers}
    with zipfile.ZipFile(data / "imagenet_sample_250.zip") as archive:
        for name in archive.namelist():
            kind = kinds.get(name.split("/")[0])
            if kind and name.endswith(".jpg"):
                (folder / kind).mkdir(parents=True, exist_ok=True)
                (folder / kind / Path(name).name).write_bytes(archive.read(name))


def run(command: str, folder: Path, **variables: str) -> str:
    program, *arguments = shlex.split(command)
    assert program == "python"
    done = processes.run(*arguments, cwd=folder, **variables)
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout


@pytest.mark.parametrize(("photos", "model", "weights"), [(cifar, "squeezenet_cifar", "cifar10"), (animals, "", "")])
def test_every_step_of_the_page(tmp_path, data, filled_cache, photos, model, weights):
    photos(data, tmp_path / "photos")
    some = sorted((tmp_path / "photos").rglob("*.jpg"))[0]
    shutil.copy(some, tmp_path / "photo.jpg")
    *before, dev, call, score = commands()
    cache = {"KERASCNN_HOME": str(filled_cache)}
    for command in before:
        if model:
            command = command.replace("--model squeezenet --weights imagenet", f"--model {model} --weights {weights}")
        run(command, tmp_path, **cache)

    network = kerascnn.load_model(tmp_path / "runs/mine/mine.keras")
    facts = json.loads((tmp_path / "runs/mine/run.json").read_text())
    manifest = json.loads((tmp_path / "artifacts/mine/manifest.json").read_text())
    chance = 1 / len(facts["classes"])
    assert facts["accuracy"] > 2 * chance
    assert {artifact["precision"] for artifact in manifest["artifacts"]} == {"float32", "float16", "int8"}
    keras_model = manifest["evaluation"]["keras"]["top1"]
    for artifact in manifest["artifacts"]:
        assert abs(artifact["accuracy"]["top1"] - keras_model) <= 0.03, artifact["path"]
    assert (tmp_path / "artifacts/mine/labels.txt").read_text().split() == list(facts["classes"])
    assert (tmp_path / "answers.html").stat().st_size > 10_000

    server = processes.start(*shlex.split(dev)[1:], cwd=tmp_path, **cache)
    try:
        for _ in range(60):
            done = processes.run(*shlex.split(call)[1:], cwd=tmp_path)
            if done.returncode == 0:
                break
            time.sleep(1)
        assert done.returncode == 0, done.stderr
        (answer,) = json.loads(done.stdout)
        scored = json.loads(run(score, tmp_path))
    finally:
        server.terminate()
        server.communicate(timeout=30)
    from PIL import Image

    pixels = find_preprocessing(network).load(Image.open(tmp_path / "photo.jpg"))
    wanted = np.asarray(network(pixels[None]))[0]
    assert len(answer["predictions"]) == 5
    for answered in answer["predictions"]:
        expected = wanted[facts["classes"].index(answered["label"])]
        assert abs(answered["score"] - expected) < 0.03, answered  # TensorFlow decodes JPEGs otherwise than Pillow
    assert scored["photos"] == manifest["evaluation"]["keras"]["images"]
    assert abs(scored["top1"] - keras_model) <= 0.03
