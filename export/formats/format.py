"""What a format is: an object that says what its artifacts are called, and how they are written, opened and checked."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from export.checking.runtimes import Runtime, TensorSpec
from export.errors import RequestError
from export.proving.proof import Place
from export.quantization.goal import Goal

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

    from export.checking.sizes import Sizes
    from export.formats.precision import Precision
    from export.tracing.graph import TracedModel
    from kerascnn.photos.preprocessing import Preprocessing

OPSET = 17


@dataclass(frozen=True)
class Source:
    """What the artifacts of one export are written from.

    Attributes:
        traced: The network.
        calibration: float32 [n, height, width, channels], as the artifacts take them; None where there are none.
        reading: How a photo becomes the artifacts' input; None where that is not known.
        labels: Class names in the order of the outputs.
        opset: ONNX operator set.
        metadata: What a file says of itself, as texts by name.
        goal: What the precision `auto` has to reach.
    """

    traced: TracedModel
    calibration: np.ndarray | None = None
    reading: Preprocessing | None = None
    labels: tuple[str, ...] | None = None
    opset: int = OPSET
    metadata: Mapping[str, str] = field(default_factory=dict)
    goal: Goal = field(default_factory=Goal)

    @property
    def interface(self) -> tuple[TensorSpec, TensorSpec]:
        """The network's own input and output."""
        traced = self.traced
        return (
            TensorSpec(traced.input_name, tuple(traced.input_shape), "float32"),
            TensorSpec(traced.output_name, tuple(traced.output_shape), "float32"),
        )


class Format(ABC):
    """One kind of artifact. Its module imports nothing heavy, so that `--help` and bad requests are answered at once.

    Attributes:
        name: In the manifest, as the suffix of files, and as an option of the command line.
        title: The name in prose.
        help: What the command line says of it.
        precisions: The precisions that it can have, float32 first.
        packages: What has to be importable to write and to run it.
        runtime: In which its artifacts are verified.
    """

    name: str
    title: str
    help: str
    precisions: tuple[Precision, ...]
    packages: tuple[str, ...]
    runtime: Place

    @property
    def option(self) -> str:
        """The option that asks for it on the command line."""
        return f"--{self.name.replace('_', '-')}"

    def precision(self, name: str) -> Precision:
        """Return one of its precisions by name.

        Raises:
            RequestError: It has no such precision.
        """
        for precision in self.precisions:
            if precision.name == name:
                return precision
        known = ", ".join(precision.name for precision in self.precisions)
        raise RequestError(f"{self.title} precision {name!r} is unknown; choose from {known}.")

    def path(self, stem: str, precision: Precision) -> str:
        """Return where an artifact lies within the export's folder; `stem` is what its name begins with."""
        suffix = "" if precision.name == "float32" else f"_{precision.name}"
        return f"{stem}{suffix}.{self.name}"

    def check_opset(self, opset: int, precision: Precision) -> None:  # noqa: B027  (most formats have none)
        """Refuse an ONNX operator set that this format cannot be written in.

        Raises:
            RequestError: It cannot.
        """

    @abstractmethod
    def write(self, source: Source, path: Path, precision: Precision) -> None:
        """Write an artifact.

        Raises:
            RequestError: The calibration images are missing or do not fit.
            ExportError: The network cannot be said in this format or precision.
        """

    @abstractmethod
    def open(self, path: Path, threads: int = 2) -> Runtime:
        """Load an artifact into the runtime that its users have, with `threads` threads where that can be chosen.

        Raises:
            ExportError: It has not one input, one output and the signature that it should have.
        """

    def specifications(
        self, precision: Precision, source: TensorSpec, target: TensorSpec
    ) -> tuple[TensorSpec, TensorSpec]:
        """Return what an artifact must declare as input and output, from what the network declares."""
        return source, target

    @contextmanager
    def checking(self, path: Path, source: Source) -> Iterator[Callable[[Runtime], None]]:
        """Check what only this format has.

        Checks that need no runtime start at once, in a process of their own. Meanwhile the block compares the artifact
        with the network. In the end the block calls the function that it was given.

        Yields:
            A function that completes the checks with the opened artifact. It raises an ExportError where one fails.
        """
        yield lambda runtime: None

    def details(self, path: Path, images: np.ndarray, answers: np.ndarray) -> Mapping[str, Any]:
        """Return what only this format's own runtime says of an artifact.

        Args:
            path: The artifact.
            images: float32 [n, height, width, channels], as it takes them.
            answers: What it answered to them, one by one.
        """
        return {}

    def sizes(self, folder: Path, path: str, threads: int, kernels: Sequence[np.ndarray]) -> Sizes:
        """Measure what the artifact `folder / path` of a compressed network weighs, beside its bytes on disk.

        Args:
            folder: Of the export.
            path: The artifact's, there.
            threads: With how many it answers.
            kernels: The network's.
        """
        from export.checking.sizes import Sizes

        return Sizes()
