"""What is asked for: one record that the command line and Python both make, checked as it is made.

It imports nothing heavy, so that a bad request is refused at once.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from export import pushing, signing
from export.app.project import FORMAT as APP_FORMAT
from export.app.project import PLATFORMS
from export.errors import RequestError, check_known
from export.formats.format import OPSET, Format
from export.formats.precision import PRECISIONS, Precision
from export.formats.registry import FORMATS
from export.images import ImageSource, calibration_photos, held_back
from export.proving import provers
from export.proving.micro import QUANTIZED, Micro
from export.proving.web import Web
from export.quantization.goal import Goal, check_goal
from export.web.packages import check_folder, packages_for

if TYPE_CHECKING:
    import numpy as np

    from export.proving.prover import Prover
    from kerascnn.photos.choosing import PreprocessingChoice
    from kerascnn.photos.preprocessing import Preprocessing

_HOW_TO_GIVE_PHOTOS = (
    "Give --calibration-data DIR or .zip (from Python: calibration=): 100 photos like those it sees; int4 wants 256."
)


@dataclass(frozen=True)
class Compression:
    """How a model is made smaller before it is exported; see `export.compression.compress`.

    Attributes:
        sparsity: The share of the weights to set to zero; None: only those that sharing sets to zero.
        bits: Each layer has at most 2**bits different weights.
        target_bytes: How large the .kdc file may be; None: as small as costs little accuracy.
    """

    sparsity: float | None = None
    bits: int = 8
    target_bytes: int | None = None


@dataclass(frozen=True)
class Item:
    """One artifact to make.

    Attributes:
        format: Its format.
        precision: One that the format has.
        optional: Whether it was not asked for by name: where it is of no use it may be left out.
    """

    format: Format
    precision: Precision
    optional: bool = False

    @property
    def title(self) -> str:
        """Its name in messages, such as `tflite int8`."""
        return f"{self.format.name} {self.precision.name}"

    def path(self, stem: str) -> str:
        """Return where it goes within the export's folder; `stem` is what its name begins with."""
        return self.format.path(stem, self.precision)


@dataclass(frozen=True, kw_only=True, eq=False)
class Request:
    """What to make of a model. Whatever can be refused without the model is refused when a request is made.

    Attributes:
        formats: Any of FORMATS. They may be empty where the model is compressed, which writes a .kdc file.
        precisions: Any of PRECISIONS, for each format that has them. float32 is always made too: its gate sees damage
            that is smaller than the noise of the coarser precisions.
        compression: Make the model smaller first. TFLite then gets the sparse precisions too, as optional ones.
        goal: What the precision `auto` has to reach; None: at most one point of top-1 less than the model.
        opset: ONNX operator set.
        calibration: Photos, or float32 [n, height, width, channels] as the artifacts take them, to choose quantization
            steps with and to compress with; or arrays by the names of the inputs.
        evaluation: Photos in folders named after their classes, to score every artifact on.
        labels: Class names in the order of the outputs; None: those that the model brings.
        preprocessing: How photos are prepared; None: as the model brings.
        include_preprocessing: Put channel order, mean and scale into the artifacts.
        web: Make a page for browsers too; the path of a folder: with the JavaScript runtimes in it. It adds .tflite and
            .onnx files where neither is among the formats, and is proven in Chromium where there is one.
        apps: Make projects of apps too, for any of PLATFORMS. They add .tflite files where no format is asked for.
        prove: Further runtimes to prove the artifacts in, see `export.proving.provers.chosen`.
        max_arena: The most bytes of memory that TFLite Micro may need for an int8 or int8-io file; None: any.
        sign: The private key to sign the folder with, a PEM file; None: it is not signed.
        push: The repository on the Hugging Face hub, OWNER/NAME, that the folder is uploaded to; None: it is not.
        halves: Make SavedModels that compute in half precision, where one was asked for; False for networks that do
            not take one image.
        trained: The network was trained for int8 (`export.compression.quantize_aware`): no float32 file is
            written, and no photos are needed.

    Raises:
        RequestError: The request cannot be carried out.
    """

    formats: Collection[str] = tuple(FORMATS)
    precisions: Collection[str] = ()
    compression: Compression | None = None
    goal: Goal | None = None
    opset: int = OPSET
    calibration: ImageSource | np.ndarray | Mapping[str, np.ndarray] | None = None
    evaluation: ImageSource | None = None
    labels: tuple[str, ...] | None = None
    preprocessing: Preprocessing | PreprocessingChoice | None = None
    include_preprocessing: bool = False
    web: bool | Path = False
    apps: Collection[str] = ()
    prove: Collection[str] = ()
    max_arena: int | None = None
    sign: Path | None = None
    push: str | None = None
    halves: bool = True
    trained: bool = False

    def __post_init__(self) -> None:
        for name in ("formats", "precisions", "apps", "prove"):
            if isinstance(getattr(self, name), str):
                raise RequestError(f"{name} is a list of names, such as [{getattr(self, name)!r}].")
        if self.web and not set(self.formats) & set(Web.formats):
            object.__setattr__(self, "formats", (*self.formats, *Web.formats))
        if self.apps and not self.formats:
            object.__setattr__(self, "formats", (APP_FORMAT,))
        if isinstance(self.web, Path):
            check_folder(packages_for(self.formats), self.web)
        if self.compression is not None:
            _check_compression(self.compression)
        elif not self.formats:
            raise RequestError(
                f"No format was asked for. Choose {', '.join(format.option for format in FORMATS.values())}, or --all "
                f"of them (from Python: formats=, of {', '.join(FORMATS)})."
            )
        check_known("format", self.formats, FORMATS)
        check_known("precision", self.precisions, PRECISIONS)
        for precision in self.precisions:
            _check_written(precision, self.formats)
        if self.apps:
            _check_apps(self.apps, self.formats, self.items)
        count = len(self.held_back) if self.evaluation is not None else None
        check_goal(self.goal, "auto" in self.precisions, count, self.compression is not None)
        _check_packages(self.items)
        self.provers  # noqa: B018  (refuses names)
        if self.sign is not None:
            signing.check_private_key(self.sign)
        if self.push is not None:
            pushing.check_name(self.push)
        if self.max_arena is not None:
            _check_arena(self.max_arena, self.items, self.provers)
        for item in self.items:
            item.format.check_opset(self.opset, item.precision)
        if self.calibration is None and not self.trained:
            _check_no_photos_needed(self.items, self.compression)
        elif not isinstance(self.calibration, ImageSource | Mapping | None) and not hasattr(
            self.calibration, "__array__"
        ):
            raise RequestError(
                f"calibration is a folder or .zip of photos, or an array of inputs; {type(self.calibration).__name__} "
                "is neither. Batches of a data set become an array by np.concatenate."
            )

    @cached_property
    def items(self) -> tuple[Item, ...]:
        """The artifacts to make, in order."""
        return tuple(self._items())

    @property
    def calibration_photos(self) -> int:
        """How many photos of the calibration data are read."""
        four_bits = any(item.precision.rounds_by_photos for item in self.items)
        return calibration_photos(self.calibration, self.evaluation, four_bits)

    @cached_property
    def held_back(self) -> frozenset[str]:
        """The names of the evaluation photos that steps and precisions are not chosen with, as far as paths tell."""
        if self.evaluation is None:
            return frozenset()
        return frozenset(held_back(self.evaluation, self.calibration, self.calibration_photos))

    @cached_property
    def provers(self) -> tuple[Prover, ...]:
        """The further runtimes that artifacts are proven in."""
        found = provers.chosen(self.prove, self.formats)
        others = tuple(prover for prover in found if prover.name != Web.name)
        if not self.web and len(others) == len(found):
            return found
        return (*others, Web(self.web if isinstance(self.web, Path) else None))

    def _items(self) -> Iterator[Item]:
        wanted = self.precisions if self.trained else ("float32", *self.precisions)
        for format in FORMATS.values():
            if format.name in self.formats:
                precisions = [precision for precision in format.precisions if self.halves or not precision.is_half]
                yield from (Item(format, precision) for precision in precisions if precision.name in wanted)
                if self.compression is not None:
                    sparse = [precision for precision in format.precisions if precision.sparse]
                    yield from (Item(format, one, optional=True) for one in sparse if one.name not in wanted)


def _check_compression(compression: Compression) -> None:
    sparsity, bits, target_bytes = compression.sparsity, compression.bits, compression.target_bytes
    if sparsity is not None and not 0 <= sparsity < 1:
        raise RequestError(f"A sparsity is 0 to less than 1, the share of weights set to zero; it is {sparsity}.")
    if not 1 <= bits <= 8:
        raise RequestError(f"Layers share 2 to 256 values, 1 to 8 bits; {bits} bits were asked for.")
    if target_bytes is not None and target_bytes <= 0:
        raise RequestError(f"The compressed file cannot have {target_bytes} bytes.")


def _check_apps(platforms: Collection[str], formats: Collection[str], items: Sequence[Item]) -> None:
    check_known("platform", platforms, PLATFORMS)
    if APP_FORMAT not in formats:
        raise RequestError(
            f"An app runs .tflite files, and none was asked for. Add {FORMATS[APP_FORMAT].option}, or leave --app out "
            "(from Python: apps=)."
        )
    for platform in (PLATFORMS[name] for name in platforms):
        for precision in (item.precision for item in items if item.format.name == APP_FORMAT and not item.optional):
            reason = platform.declines(precision)
            if reason:
                raise RequestError(
                    f"An app for {platform.title} cannot run {precision.name} files: {reason}. Leave {precision.name} "
                    "out, or export it without --app (from Python: apps=)."
                )


def _check_arena(largest: int, items: Sequence[Item], provers: Sequence[Prover]) -> None:
    if largest <= 0:
        raise RequestError(f"An arena has at least one byte; --max-arena (from Python: max_arena=) is {largest}.")
    prover = next((prover for prover in provers if prover.name == Micro.name), None)
    if prover is None:
        raise RequestError(
            f"--max-arena is what a file may need in TFLite Micro, which is not asked for. Add --prove {Micro.name} "
            "(from Python: prove=)."
        )
    if missing := prover.missing():
        raise RequestError(f"--max-arena is measured in {prover.title}: {missing}")
    if not any(item.format.name in Micro.formats and item.precision.name in QUANTIZED for item in items):
        raise RequestError(
            f"--max-arena judges {' and '.join(QUANTIZED)} files for TFLite, and none was asked for. Add --tflite "
            f"--quantize {QUANTIZED[-1]}."
        )


def _check_written(precision: str, formats: Collection[str]) -> None:
    """Refuse a precision that none of the formats has."""
    writers = [format for format in FORMATS.values() if precision in [known.name for known in format.precisions]]
    if precision != "float32" and not any(format.name in formats for format in writers):
        raise RequestError(
            f"{precision} is a precision of {' and '.join(format.title for format in writers)} files, and none was "
            f"asked for. Add {' or '.join(format.option for format in writers)}."
        )


def _check_packages(items: Sequence[Item]) -> None:
    needed = dict.fromkeys(package for item in items for package in item.format.packages)
    missing = [package for package in needed if importlib.util.find_spec(package) is None]
    if missing:
        raise RequestError(
            f"{', '.join(missing)} is not installed. Exporting needs the extra: pip install 'kerascnn[export]'."
        )


def _check_no_photos_needed(items: Sequence[Item], compression: Compression | None) -> None:
    if compression is not None:
        raise RequestError(f"Compression needs photos to measure which weights matter. {_HOW_TO_GIVE_PHOTOS}")
    names = dict.fromkeys(item.precision.name for item in items if item.precision.needs_photos)
    if names:
        raise RequestError(
            f"Photos are needed to choose the steps of {' and '.join(names)} with. {_HOW_TO_GIVE_PHOTOS}"
        )


def read_labels(path: Path) -> tuple[str, ...]:
    """Read class names, one a line, in the order of the model's outputs.

    Raises:
        RequestError: The file does not exist, or is not UTF-8 text.
    """
    from kerascnn import data

    try:
        return data.read_labels(path)
    except ValueError as error:
        raise RequestError(str(error)) from error
