"""The structure of the packages: which way imports go, and who may touch what."""

import ast
import re

import keras
import pytest

from benchmarks import structure
from benchmarks.structure import Import, Module

pytestmark = pytest.mark.smoke

MODULES = structure.modules(structure.working_tree())
IMPORTS = [found for module in MODULES.values() for found in structure.imports(module)]
STATEMENTS = [found for found in IMPORTS if found.statement]
COMMAND_LINES = {name for name in MODULES if name.rpartition(".")[2] == "cli"}


def within(name: str, *packages: str) -> bool:
    """Whether a module or a name in it belongs to one of the packages."""
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def places(found: list[Import]) -> list[str]:
    """Where something is imported, for messages."""
    return [f"{MODULES[item.source].path}:{item.line} imports {item.target}" for item in found]


def test_there_is_no_circle_of_files() -> None:
    assert structure.circles(structure.graph(MODULES)) == []


def test_nothing_imports_a_command_line() -> None:
    """`__main__` starts it; a command line names others in its table of lazy commands, as strings."""
    importers = [
        found
        for found in STATEMENTS
        if set(structure.files(found.target, MODULES)) & COMMAND_LINES and not found.source.endswith(".__main__")
    ]
    assert places(importers) == []


def test_kerascnn_imports_no_tensorflow_at_import_time() -> None:
    early = [found for found in STATEMENTS if found.at_import and within(found.source, "kerascnn")]
    assert places([found for found in early if within(found.target, "tensorflow", "tf_keras", "tf2onnx")]) == []


@pytest.mark.parametrize(
    ("package", "other", "allowed"),
    [
        ("kerascnn", "export", ()),
        ("kerascnn", "serving", ()),
        ("export", "serving", ("serving.contract",)),
        ("serving", "export", ()),
        # What photos and their folders are called is the same in training, in exports and behind a server; so is how a
        # photo is prepared, where the server does not do that, and how a processor has to run an ONNX file.
        (
            "serving",
            "kerascnn",
            (
                "kerascnn.console",
                "kerascnn.photos.files",
                "kerascnn.photos.preprocessing",
                "kerascnn.photos.runtimes",
                "kerascnn.data",
            ),
        ),
    ],
)
def test_arrows_between_packages(package: str, other: str, allowed: tuple[str, ...]) -> None:
    arrows = [found for found in STATEMENTS if within(found.source, package) and within(found.target, other)]
    assert places([found for found in arrows if not within(found.target, *allowed)]) == []


def private_names() -> set[str]:
    """The names that Keras keeps to itself on what it hands out: layers, models, nodes and tensors."""
    first = keras.Input((4,))
    layer = keras.layers.Dense(2)
    model = keras.Model(first, layer(first))
    variable = layer.kernel
    things = [first, first._keras_history, layer, layer._inbound_nodes[0], model, keras.Sequential([layer]), variable]
    names = {name for thing in things for name in dir(thing)} - {
        name for thing in ((), object()) for name in dir(thing)
    }
    return {name for name in names if re.match("_[a-z]", name)}


def touched(module: Module, names: set[str]) -> list[str]:
    """Where a module uses names of a set; what it stores in `self` under such a name is its own."""
    attributes = [node for node in ast.walk(module.tree) if isinstance(node, ast.Attribute)]
    texts = [node for node in ast.walk(module.tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    own = {ast.unparse(node) for node in attributes if isinstance(node.ctx, ast.Store)}
    used = [node for node in attributes if node.attr in names and ast.unparse(node) not in own]
    used_by_name = [node for node in texts if node.value in names]
    return [f"{module.path}:{node.lineno} {ast.unparse(node)}" for node in (*used, *used_by_name)]


def test_keras_private_names_are_in_one_module() -> None:
    private = private_names()
    assert {"_keras_history", "_inbound_nodes", "_nodes_by_depth"} <= private
    others = [module for name, module in MODULES.items() if name != "kerascnn.keras_graph"]
    internal = [found for found in IMPORTS if within(found.target, "keras.src")]
    found = [place for module in others for place in touched(module, private)]
    assert found + places([item for item in internal if item.source != "kerascnn.keras_graph"]) == []


def test_tf_lite_is_in_one_module() -> None:
    """TensorFlow is going to part with it; in the packages, that is to be one change."""
    packages = {name: module for name, module in MODULES.items() if within(name, "export", "kerascnn", "serving")}
    named = {
        name
        for name, module in packages.items()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node) in ("tf.lite", "tf.compat.v1.lite")
    }
    imported = {item.source for item in IMPORTS if within(item.target, "tensorflow.lite")} & packages.keys()
    assert named == imported == {"export.formats.tensorflow_lite"}


SOURCES = {
    "toy/__init__.py": "",
    "toy/first.py": "def late():\n    from .second import thing",
    "toy/second.py": "from importlib import import_module\nmodule = import_module('toy.third')",
    "toy/third.py": "def load(name):\n    return import_module(f'toy.families.{name}')",
    "toy/families/__init__.py": '"""Reads toy.first."""',
    "toy/families/one.py": "from .. import first",
    "toy/checked.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from . import checker",
    "toy/checker.py": "import toy.checked",
}


def test_imports_are_read_wherever_they_are() -> None:
    """In functions, relative, as strings and prefixes of strings; not in docstrings and for type checkers."""
    toy: dict[str, Module] = structure.modules(SOURCES)
    assert structure.circles(structure.graph(toy)) == [["toy.families.one", "toy.first", "toy.second", "toy.third"]]
