"""The operators that a server's TensorFlow knows, and what in a SavedModel is beyond them.

TensorFlow reads what an older one wrote, and promises nothing about the reverse. A model that 2.21 exported loads in a
2.20 server as long as it uses no operator, no attribute of an operator, and no graph version that came later. The lists
in serving/data are taken from the registry of the TensorFlow of that version; this writes one anew:

    python -m venv old && old/bin/pip install tensorflow-cpu==2.20.0
    old/bin/python serving/contract/operators.py > serving/data/operators-2.20.txt
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

SERVER = "2.20"  # of the image tensorflow/serving:2.20.0-gpu


@dataclass(frozen=True)
class Operators:
    """What one version of TensorFlow knows: its graph version, and each operator's attributes."""

    graph_version: int
    attributes: Mapping[str, frozenset[str]]


@cache
def known_operators() -> Operators:
    """What the server of version SERVER knows."""
    lines = resources.files("serving").joinpath(f"data/operators-{SERVER}.txt").read_text(encoding="ascii").splitlines()
    rows = [line.split() for line in lines if not line.startswith("#")]
    return Operators(int(rows[0][1]), {name: frozenset(attributes) for name, *attributes in rows[1:]})


def problems(folder: Path) -> list[str]:
    """A sentence on each thing that the SavedModel in `folder` uses and a server of version SERVER does not have.

    Raises:
        OSError: there is no saved_model.pb, or it cannot be read.
        ValueError: it is not a SavedModel.
    """
    known = known_operators()
    found: dict[str, None] = {}  # in order, each once
    for graph in (meta_graph.graph_def for meta_graph in read_saved_model(folder).meta_graphs):
        if graph.versions.min_consumer > known.graph_version:
            found[
                f"The graph needs TensorFlow's graph version {graph.versions.min_consumer}; {SERVER} has "
                f"{known.graph_version}."
            ] = None
        own = {function.signature.name for function in graph.library.function}
        for node in _nodes(graph):
            if node.op in own:
                continue
            if node.op not in known.attributes:
                found[f"TensorFlow {SERVER} does not know the operator {node.op}."] = None
                continue
            late = sorted(name for name in node.attr if name[0] != "_" and name not in known.attributes[node.op])
            for name in late:
                found[f"TensorFlow {SERVER} does not know the attribute {name} of the operator {node.op}."] = None
        if any(holder.attr["_XlaMustCompile"].b for holder in (*graph.library.function, *_nodes(graph))):
            found["A function is marked for XLA (jit_compile=True), which a server refuses unless told otherwise."] = (
                None
            )
    return list(found)


def read_saved_model(folder: Path) -> Any:
    """The message in saved_model.pb: graphs and signatures, without the weights.

    Raises:
        OSError: there is no saved_model.pb, or it cannot be read.
        ValueError: it is not a SavedModel.
    """
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2

    message = saved_model_pb2.SavedModel()
    try:
        message.ParseFromString((folder / "saved_model.pb").read_bytes())
    except DecodeError as error:
        raise ValueError(f"{folder / 'saved_model.pb'} is damaged: {error}.") from error
    if not message.meta_graphs:
        raise ValueError(f"{folder / 'saved_model.pb'} holds no graph.")
    return message


def _nodes(graph: Any) -> Iterator[Any]:
    yield from graph.node
    for function in graph.library.function:
        yield from function.node_def


def _print_list() -> None:
    import tensorflow as tf
    from tensorflow.core.framework import op_def_pb2
    from tensorflow.python.client import pywrap_tf_session

    buffer = pywrap_tf_session.TF_GetAllOpList()
    operators = op_def_pb2.OpList.FromString(pywrap_tf_session.TF_GetBuffer(buffer))
    print(f"# Operators and their attributes in tensorflow-cpu {tf.__version__}, by serving/contract/operators.py")
    print(f"graph_version {tf.version.GRAPH_DEF_VERSION}")
    for operator in sorted(operators.op, key=lambda operator: operator.name):
        print(operator.name, *sorted(attribute.name for attribute in operator.attr))


if __name__ == "__main__":
    _print_list()
