"""The operators that a server's TensorFlow knows, and what a SavedModel uses beyond them.

TensorFlow reads what an older version wrote, and promises nothing about the reverse. A model that 2.21 exported loads
in a 2.20 server if it uses no newer operator, attribute of an operator, or graph version. The list beside this file
comes from the registry of that TensorFlow. To write it again:

    python -m venv old && old/bin/pip install tensorflow-cpu==2.20.0
    old/bin/python serving/contract/operators.py > serving/contract/operators-2.20.txt
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tensorflow.core.framework.graph_pb2 import GraphDef
    from tensorflow.core.framework.node_def_pb2 import NodeDef
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

SERVER = "2.20"  # the TensorFlow in the image tensorflow/serving:2.20.0-gpu


@dataclass(frozen=True)
class Operators:
    """What one version of TensorFlow knows: its graph version, and the attributes of each operator."""

    graph_version: int
    attributes: Mapping[str, frozenset[str]]


@cache
def known_operators() -> Operators:
    """Read what the server of version SERVER knows."""
    lines = Path(__file__).with_name(f"operators-{SERVER}.txt").read_text(encoding="ascii").splitlines()
    rows = [line.split() for line in lines if not line.startswith("#")]
    return Operators(int(rows[0][1]), {name: frozenset(attributes) for name, *attributes in rows[1:]})


def problems(folder: Path) -> list[str]:
    """Say what the SavedModel in `folder` uses that a server of version SERVER lacks, one sentence each.

    Raises:
        OSError: There is no saved_model.pb, or it cannot be read.
        ValueError: It is not a SavedModel.
    """
    graphs = [meta_graph.graph_def for meta_graph in read_saved_model(folder).meta_graphs]
    # The keys of a dictionary: in order, each once.
    return list(dict.fromkeys(sentence for graph in graphs for sentence in _problems(graph)))


def _problems(graph: GraphDef) -> Iterator[str]:
    known = known_operators()
    needed = graph.versions.min_consumer
    if needed > known.graph_version:
        yield f"The graph needs TensorFlow's graph version {needed}; {SERVER} has {known.graph_version}."
    own = {function.signature.name for function in graph.library.function}
    for node in _nodes(graph):
        if node.op in own:
            continue
        if node.op not in known.attributes:
            yield f"TensorFlow {SERVER} does not know the operator {node.op}."
            continue
        for name in sorted(node.attr):
            if name[0] != "_" and name not in known.attributes[node.op]:
                yield f"TensorFlow {SERVER} does not know the attribute {name} of the operator {node.op}."
    if any(holder.attr["_XlaMustCompile"].b for holder in (*graph.library.function, *_nodes(graph))):
        yield "A function is marked for XLA (jit_compile=True), which a server refuses by default."


def read_saved_model(folder: Path) -> SavedModel:
    """Read the message in saved_model.pb: graphs and signatures, without the weights.

    Raises:
        OSError: There is no saved_model.pb, or it cannot be read.
        ValueError: It is not a SavedModel.
    """
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2

    path = folder / "saved_model.pb"
    message = saved_model_pb2.SavedModel()
    try:
        message.ParseFromString(path.read_bytes())
    except DecodeError as error:
        raise ValueError(f"{path} is damaged: {error}.") from error
    if not message.meta_graphs:
        raise ValueError(f"{path} holds no graph.")
    return message


def _nodes(graph: GraphDef) -> Iterator[NodeDef]:
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
