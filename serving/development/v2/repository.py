"""The models of a repository, loaded into ONNX Runtime as their config.pbtxt says, and asked by the protocol's rules.

Requests are not joined into batches here. The rest is as in Triton: limits of the batch, types and shapes, warm-up,
versions, and classification with labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from serving import tensors
from serving.configuration.triton import messages
from serving.configuration.triton.repository import CONFIG, DATA_TYPES
from serving.development.statuses import Code, StatusError, invalid
from serving.errors import RequestError, ServingError
from serving.onnx import session

_PROTOCOL = {
    "TYPE_STRING": "BYTES",
    **{kind: kind.removeprefix("TYPE_") for kind in DATA_TYPES.values()},
}


@dataclass(frozen=True)
class Wanted:
    """An output that a request asks for; with `top`, its best classes instead of its values."""

    name: str
    top: int = 0


@dataclass(frozen=True)
class Tensor:
    """An input or output as the configuration describes it, without the batch."""

    name: str
    datatype: str
    dims: tuple[int, ...]
    labels: tuple[str, ...] = ()


class Model:
    """A version of a model.

    Args:
        folder: The folder of the model, which holds config.pbtxt.
        config: What it says.
        version: The version.
    """

    def __init__(self, folder: Path, config: Any, version: int) -> None:
        self.name, self.version, self.config = config.name, version, config
        self.batch = config.max_batch_size
        self.inputs = {tensor.name: tensor for tensor in map(_tensor, config.input)}
        self.outputs = {tensor.name: tensor for tensor in (_output(folder, one) for one in config.output)}
        self._session = session(folder / str(version) / (config.default_model_filename or "model.onnx"))
        for warmup in config.model_warmup:
            self.infer({key: _zeros(value, warmup.batch_size) for key, value in warmup.inputs.items()}, ())

    def infer(self, inputs: Mapping[str, np.ndarray], wanted: Sequence[Wanted]) -> dict[str, np.ndarray]:
        """Answer a request; with all outputs if none is wanted.

        Raises:
            StatusError: An input is missing, unknown, or of another type or shape, or the batch is too large.
        """
        for name in inputs:
            if name not in self.inputs:
                raise invalid(f"unexpected inference input '{name}' for model '{self.name}'")
        for name, tensor in self.inputs.items():
            if name not in inputs:
                raise invalid(
                    f"expected {len(self.inputs)} inputs but got {len(inputs)} inputs for model '{self.name}'"
                )
            self._check(tensor, inputs[name])
        wanted = wanted or [Wanted(name) for name in self.outputs]
        for one in wanted:
            if one.name not in self.outputs:
                raise invalid(f"unexpected inference output '{one.name}' for model '{self.name}'")
        names = [one.name for one in wanted]
        values = self._session.run(names, dict(inputs))
        return {
            one.name: _best(value, one.top, self.outputs[one.name].labels) if one.top else value
            for one, value in zip(wanted, values, strict=True)
        }

    def _check(self, tensor: Tensor, value: np.ndarray) -> None:
        given = tensors.datatype_of(value)
        if given != tensor.datatype:
            what = f"inference input '{tensor.name}' data-type is '{given}', model '{self.name}' expects"
            raise invalid(f"{what} '{tensor.datatype}'")
        expected = (-1, *tensor.dims)
        sides = zip(value.shape, expected, strict=False)
        if value.ndim != len(expected) or any(side not in (given, -1) for given, side in sides):
            raise invalid(
                f"unexpected shape for input '{tensor.name}' for model '{self.name}'. Expected {list(expected)}, got "
                f"{list(value.shape)}"
            )
        if not 1 <= len(value) <= self.batch:
            raise invalid(f"inference request batch-size must be <= {self.batch} for '{self.name}'")


class Repository:
    """The models in a folder, each in the versions that its policy chooses.

    Raises:
        RequestError: There is no model, or one cannot be loaded.
    """

    def __init__(self, folder: Path) -> None:
        self._models: dict[str, dict[int, Model]] = {}
        for path in sorted(folder.glob(f"*/{CONFIG}")):
            config = messages.parse(path.read_text(encoding="utf-8"), str(path))
            numbers = sorted(int(child.name) for child in path.parent.iterdir() if child.name.isdecimal())
            try:
                self._models[path.parent.name] = {
                    version: Model(path.parent, config, version) for version in _chosen(config, numbers)
                }
            except StatusError as error:
                raise RequestError(f"The warm-up of {path.parent} fails: {error.message}.") from error
            except ServingError:
                raise
            except Exception as error:  # ONNX Runtime raises many kinds
                raise RequestError(f"{path.parent} cannot be loaded: {str(error)[:300]}") from error
        if not self._models:
            raise RequestError(
                f"There is no model in {folder}: no NAME/{CONFIG}. Write one: python -m serving init --server triton."
            )

    def models(self) -> list[Model]:
        """Return every loaded version of every model."""
        return [model for versions in self._models.values() for model in versions.values()]

    def find(self, name: str, version: str = "") -> Model:
        """Return a version of a model, the newest if it is "".

        Raises:
            StatusError: There is none.
        """
        versions = self._models.get(name, {})
        number = max(versions, default=None) if not version else int(version) if version.isdecimal() else None
        if number not in versions:
            what = f"Request for unknown model: '{name}'" + (f" version {version}" if version else "")
            raise StatusError(Code.NOT_FOUND, f"{what} is not found")
        return versions[number]


def _chosen(config: Any, numbers: list[int]) -> list[int]:
    policy = config.version_policy
    if policy.HasField("specific"):
        return [number for number in numbers if number in policy.specific.versions]
    if policy.HasField("all"):
        return numbers
    return numbers[-max(policy.latest.num_versions, 1) :]


def _tensor(described: Any) -> Tensor:
    return Tensor(described.name, _datatype(described), tuple(described.dims))


def _output(folder: Path, described: Any) -> Tensor:
    tensor = _tensor(described)
    if not described.label_filename:
        return tensor
    lines = (folder / described.label_filename).read_text(encoding="utf-8").splitlines()
    return Tensor(tensor.name, tensor.datatype, tensor.dims, tuple(lines))


def _datatype(described: Any) -> str:
    kinds = described.DESCRIPTOR.fields_by_name["data_type"].enum_type.values_by_number
    return _PROTOCOL[kinds[described.data_type].name]


def _zeros(described: Any, batch: int) -> np.ndarray:
    return np.zeros((batch, *described.dims), tensors.DATATYPES[_datatype(described)])


def _best(scores: np.ndarray, top: int, labels: Sequence[str]) -> np.ndarray:
    """Return the best classes of each row, as `score:number:label`."""
    flat = scores.reshape(len(scores), -1)
    order = np.argsort(-flat, axis=1, kind="stable")[:, :top]
    best = np.empty(order.shape, object)
    for row, column in np.ndindex(*order.shape):
        number = int(order[row, column])
        label = f":{labels[number]}" if number < len(labels) else ""
        best[row, column] = f"{flat[row, number]:.6f}:{number}{label}".encode()
    return best
