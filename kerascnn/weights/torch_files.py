"""torch checkpoints (also in a .zip), .safetensors and ONNX files: arrays by torch's keys."""

from __future__ import annotations

import io
import math
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from kerascnn.weights import zipped
from kerascnn.weights.errors import WeightsError
from kerascnn.weights.keras_files import first_line

SUFFIXES = (".pth", ".pt", ".th")
HEADER = 1 << 22  # bytes of the header of a .safetensors file
KEYS = 100_000

_CAFFE2_NAME = re.compile(r"(.+)_([wb])_0")

Arrays = dict[str, np.ndarray]


def read_torch(path: Path) -> Arrays:
    """Read a checkpoint, or a .zip that holds one.

    Raises:
        WeightsError: It is damaged, or holds anything but tensors.
        ImportError: torch is not installed.
    """
    try:
        import torch
    except ImportError as error:
        raise ImportError(
            f'Reading {path} needs torch, which is not installed: pip install "kerascnn[torch]". '
            "(.safetensors and Keras files are read without it.)"
        ) from error
    if path.suffix == ".zip":
        with zipped.member(path) as packed:
            file: IO[bytes] = io.BytesIO(packed.read())
    else:
        file = path.open("rb")
    with file:
        size = file.seek(0, io.SEEK_END)
        content = _load(torch, file, size, path)
    for wrapper in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping) or not content:
        raise WeightsError(f"{path} holds no state dict (nor one under 'state_dict' or 'model').")
    strangers = [key for key, value in content.items() if not isinstance(key, str) or not _is_plain(torch, value)]
    if strangers:
        raise WeightsError(f"{path} is not a state dict: {strangers[0]!r} is not a tensor of numbers.")
    # A tensor can repeat the values of another, or one value, as often as it says.
    if len(content) > KEYS or sum(4 * tensor.numel() for tensor in content.values()) > zipped.most(size):
        raise WeightsError(f"{path} is damaged: its tensors are larger than the file can hold.")
    return {key: (t.float() if t.is_floating_point() else t).numpy() for key, t in content.items()}


def _load(torch: Any, file: IO[bytes], size: int, path: Path) -> Any:
    try:
        file.seek(0)
        if zipfile.is_zipfile(file):
            zipped.check(file, size)
        file.seek(0)
        return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises pickle, zip, runtime and key errors for other files
        if "weights_only" in str(error) or "Unsupported" in str(error):
            raise WeightsError(
                f"{path} holds Python objects beside tensors; reading those can run code, so it was not read. Save "
                "its state dict alone: torch.save(model.state_dict(), path)."
            ) from error
        raise WeightsError(f"{path} is not a torch checkpoint, or is damaged: {first_line(error)}") from error


def _is_plain(torch: Any, value: Any) -> bool:
    if not isinstance(value, torch.Tensor) or value.layout != torch.strided or value.device.type != "cpu":
        return False
    return not (value.is_quantized or value.is_complex())


def read_safetensors(path: Path) -> Arrays:
    """Read a .safetensors file.

    Raises:
        WeightsError: It is damaged, or has a type that NumPy lacks.
        ImportError: safetensors is not installed.
    """
    try:
        from safetensors import SafetensorError
        from safetensors.numpy import load_file
    except ImportError as error:
        raise ImportError(
            f"Reading {path} needs safetensors, which is not installed: pip install safetensors."
        ) from error
    with path.open("rb") as file:
        header = int.from_bytes(file.read(8), "little")
    try:
        if header > HEADER:
            raise ValueError(f"its header would have {header:,} bytes")
        return load_file(path)
    # a type that NumPy lacks (bfloat16) is a KeyError or a TypeError
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path} is not a safetensors file, or is damaged: {first_line(error)}") from error


def read_onnx(path: Path) -> Arrays:
    """Read the initializers of an ONNX file, by name; those of Caffe2's (`conv1_w_0`) as torch's (`conv1.weight`).

    Raises:
        WeightsError: It is damaged, or keeps its arrays in other files.
        ImportError: onnx is not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise ImportError(
            f'Reading {path} needs onnx, which is not installed: pip install "kerascnn[export]".'
        ) from error
    kinds = {onnx.TensorProto.FLOAT: 4, onnx.TensorProto.FLOAT16: 2, onnx.TensorProto.DOUBLE: 8}
    try:
        left = zipped.most(path.stat().st_size)
        tensors = onnx.load(path, load_external_data=False).graph.initializer
        if len(tensors) > KEYS:
            raise ValueError(f"it has {len(tensors):,} arrays")
        arrays: Arrays = {}
        for tensor in tensors:
            if tensor.data_type not in kinds:
                continue  # shapes and indices of the graph
            if tensor.data_location == onnx.TensorProto.EXTERNAL:
                raise ValueError(f"{tensor.name} is in another file")
            left -= math.prod(tensor.dims) * kinds[tensor.data_type]
            if left < 0 or any(side < 0 for side in tensor.dims):
                raise ValueError(f"{tensor.name} is {tuple(tensor.dims)}, which the file cannot hold")
            name, array = _from_caffe2(tensor.name, np.asarray(onnx.numpy_helper.to_array(tensor), np.float32))
            arrays[name] = array
    except Exception as error:  # protobuf's DecodeError, and whatever wrong dimensions cause
        raise WeightsError(f"{path} is not an ONNX file, or is damaged: {first_line(error)}") from error
    if not arrays:
        raise WeightsError(f"{path} is an ONNX file without weights.")
    return arrays


def _from_caffe2(name: str, array: np.ndarray) -> tuple[str, np.ndarray]:
    match = _CAFFE2_NAME.fullmatch(name)
    if match is None:
        return name, array
    if array.ndim == 4 and array.shape[:2] == (1, 1) and match[2] == "w":
        array = array[0, 0]  # a dense layer as Caffe used to keep it
    return f"{match[1]}.{'weight' if match[2] == 'w' else 'bias'}", array
