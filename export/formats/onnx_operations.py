"""How operations that tf2onnx does not know are said in ONNX."""

from __future__ import annotations

from typing import Any

import numpy as np


def _erfc(ctx: Any, node: Any, name: str, args: Any) -> None:
    """Say erfc(x), with which Keras computes GELU, as 1 - erf(x): ONNX has no Erfc."""
    source, shape, dtype = node.input[0], ctx.get_shape(node.output[0]), ctx.get_dtype(node.output[0])
    target = node.output[0]
    ctx.remove_node(node.name)
    one = ctx.make_const(f"{name}_one", np.array(1, np.float32))
    erf = ctx.make_node("Erf", [source], name=f"{name}_erf", shapes=[shape], dtypes=[dtype])
    ctx.make_node("Sub", [one.output[0], erf.output[0]], name=name, outputs=[target], shapes=[shape], dtypes=[dtype])


HANDLERS: dict[str, tuple[Any, list[Any]]] = {"Erfc": (_erfc, [])}  # what tf2onnx does not know
