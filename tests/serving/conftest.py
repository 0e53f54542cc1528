"""Models and servers that the tests of this folder share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.serving import golden_models as golden
from tests.serving.servers import running, write_colours
from tests.serving.small import CLASSES, small_model, small_preprocessing


@pytest.fixture(scope="session")
def exported_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """artifacts/ with the model `colours`; not to be changed, copy it."""
    import export

    folder = tmp_path_factory.mktemp("exported") / "artifacts"
    export.export(
        small_model(),
        folder / "colours",
        formats=["saved_model"],
        labels=CLASSES,
        preprocessing=small_preprocessing(),
    )
    return folder


@pytest.fixture(scope="session")
def golden_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The models that the golden requests are about, as golden_models.py writes them."""
    folder = tmp_path_factory.mktemp("golden")
    golden.write(folder)
    return folder


@pytest.fixture(scope="session")
def golden_server(golden_models: Path) -> Iterator[Any]:
    """A development server with the golden models."""
    with running(golden_models, golden.CONFIG) as (where, _):
        yield where


@pytest.fixture(scope="session")
def golden_batching_server(golden_models: Path) -> Iterator[Any]:
    """The same, batching: at most 4 rows, and always 4."""
    from serving.development.runtime.batching import Batching

    with running(golden_models, golden.CONFIG, Batching(4, 1000, 10, 2, (4,))) as (where, _):
        yield where


@pytest.fixture(scope="session")
def photo_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as export writes it, with the model `colours` of servers.py."""
    folder = tmp_path_factory.mktemp("artifacts")
    write_colours(folder / "colours" / "saved_model" / "1")
    return folder


@pytest.fixture(scope="session")
def photo_server(photo_models: Path) -> Iterator[Any]:
    """A development server with the model `colours` of servers.py."""
    with running(photo_models) as (where, _):
        yield where


@pytest.fixture(scope="session")
def onnx_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """artifacts/ with the model `colours` as an ONNX file; not to be changed, copy it."""
    import export

    folder = tmp_path_factory.mktemp("onnx") / "artifacts"
    export.export(
        small_model(),
        folder / "colours",
        formats=["onnx"],
        precisions=["float16"],
        labels=CLASSES,
        preprocessing=small_preprocessing(),
    )
    return folder


@pytest.fixture(scope="session")
def triton_folder(onnx_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `init --server triton --gpu` writes for it; not to be changed, copy it."""
    from serving.configuration.triton import repository, writing

    folder = tmp_path_factory.mktemp("triton") / "deploy"
    writing.write(repository.find_onnx(onnx_folder), folder, gpus=1)
    return folder
