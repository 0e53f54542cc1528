"""A small network with a page, and the JavaScript runtimes: fetched once, where there is npm."""

import shutil
from types import SimpleNamespace

import keras
import pytest

import export
from export.checking.runtimes import TensorSpec
from export.errors import ExportError
from export.web import packages

LABELS = ("red", "green", "blue", "a very long name of a class, which has to find room on a phone too", "<b>&", "gray")


def small(seed=0):
    """A network that tells channels and places apart."""
    keras.utils.set_random_seed(seed)
    image = keras.Input((20, 24, 3))
    x = keras.layers.Conv2D(8, 3, strides=2, activation="relu")(image)
    x = keras.layers.Conv2D(8, 3, activation="relu")(x)
    x = keras.layers.Flatten()(x)
    return keras.Model(image, keras.layers.Dense(len(LABELS), activation="softmax")(x), name="small")


@pytest.fixture(scope="session")
def runtimes(tmp_path_factory):
    """A folder as npm lays it out; tests are skipped where it cannot be had."""
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed (it comes with Node.js)")
    folder = tmp_path_factory.getbasetemp().parent / "web-runtimes"  # of all workers
    wanted = packages.packages_for(list(packages.PACKAGES))
    missing = [package for package in wanted if package.found(folder) != package.version]
    try:
        if missing:
            packages.fetch(missing, folder)
    except ExportError as error:
        pytest.skip(str(error))
    return folder


@pytest.fixture(scope="session")
def exported(browser, runtimes, tmp_path_factory):
    """An export with a page, proven in Chromium."""
    folder = tmp_path_factory.mktemp("artifacts") / "small"
    manifest = export.export(small(), folder, formats=(), labels=LABELS, preprocessing="torch", web=runtimes)
    return SimpleNamespace(folder=folder, page=folder / "web", manifest=manifest)


def described(row):
    """What a prover has to know of an artifact."""
    specs = {name: TensorSpec(**{**row[name], "shape": tuple(row[name]["shape"])}) for name in ("input", "output")}
    return SimpleNamespace(format=row["format"], precision=row["precision"], **specs)
