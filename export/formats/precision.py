"""The precisions that artifacts can have: how numbers are stored and computed, and what follows from that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from export.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Collection

# The least ratio of signal to quantization noise of the logits, in dB, by the type of the weights. int4 weights are
# coarse: their limit tells a network that still works from one that does not. float16 keeps 11 bits of each number and
# bfloat16 8, which is 18 dB less.
LEAST_SQNR_DB = {"float16": 50.0, "bfloat16": 32.0, "int8": 25.0, "int4": 12.0, "mixed": 12.0}


@dataclass(frozen=True)
class Precision:
    """How an artifact stores and computes its numbers.

    Attributes:
        name: On the command line, in the manifest and in the file's name.
        weights: The type in which kernels are stored; mixed: one for each layer.
        activations: The type in which layers compute.
        interface: The type of input and output.
        sparse: Whether the zeros of kernels are left out of the file.
        symmetric: Whether the ranges of activations lie evenly around zero, so that no zero point is needed.
    """

    name: str
    weights: Literal["float32", "float16", "bfloat16", "int8", "int4", "mixed"] = "float32"
    activations: Literal["float32", "float16", "bfloat16", "int8", "int16"] = "float32"
    interface: Literal["float32", "int8"] = "float32"
    sparse: bool = False
    symmetric: bool = False

    @property
    def dense(self) -> str:
        """The name of the same precision with the zeros."""
        return self.name.removeprefix("sparse-")

    @property
    def has_ranges(self) -> bool:
        """Whether activations have fixed ranges, which are taken from photos."""
        return self.activations in ("int8", "int16")

    @property
    def is_half(self) -> bool:
        """Whether layers compute in half precision."""
        return self.activations in ("float16", "bfloat16")

    @property
    def needs_photos(self) -> bool:
        """Whether it cannot be written without photos: for the ranges, or to round weights by."""
        return self.has_ranges or self.rounds_by_photos

    @property
    def rounds_by_photos(self) -> bool:
        """Whether its weights are useless unless they are rounded for photos."""
        return self.weights in ("int4", "mixed") and not self.has_ranges

    @property
    def is_trained(self) -> bool:
        """Whether only a network that was trained for it can have it."""
        return self.weights == "int4" and self.has_ranges

    @property
    def least_sqnr_db(self) -> float | None:
        """What the logits have to reach; None where their relative error is judged instead."""
        # int4 weights with fixed ranges were trained for both, and have to reach what int8 does.
        return LEAST_SQNR_DB.get("int8" if self.has_ranges else self.weights)

    @property
    def has_judged_classes(self) -> bool:
        """Whether the best classes are compared as well: errors of 8 bits differ from image to image."""
        return self.weights in ("int8", "bfloat16") or self.has_ranges

    @property
    def needs_few_images(self) -> bool:
        """Whether a few images verify it: float errors are alike on all images; int16 takes seconds an image."""
        return self.weights in ("float32", "float16", "bfloat16") or self.activations == "int16"


PRECISIONS = {
    precision.name: precision
    for precision in (
        Precision("float32"),
        Precision("float16", weights="float16"),
        Precision("dynamic", weights="int8"),
        Precision("int8", weights="int8", activations="int8"),
        Precision("int8-io", weights="int8", activations="int8", interface="int8"),
        Precision("int8-symmetric", weights="int8", activations="int8", symmetric=True),
        Precision("int16x8", weights="int8", activations="int16"),
        Precision("int8x4", weights="int4", activations="int8"),
        Precision("int4", weights="int4"),
        Precision("auto", weights="mixed"),
        Precision("sparse-float16", weights="float16", sparse=True),
        Precision("sparse-dynamic", weights="int8", sparse=True),
        Precision("sparse-int8", weights="int8", activations="int8", sparse=True),
        Precision("bfloat16", weights="bfloat16", activations="bfloat16"),
    )
}
# What a network can be written in that was trained for int8 (`export.compression.quantize_aware`).
TRAINED = ("int8", "int8-io", "int8x4", "sparse-int8")
# What "float16" means to a format whose runtime has no other way to compute with float16 weights.
COMPUTED_FLOAT16 = Precision("float16", weights="float16", activations="float16")


def check_trained(bits: int | None, precisions: Collection[str], compresses: bool) -> None:
    """Refuse precisions that do not fit how a network was trained.

    Args:
        bits: Of its weights, where it was trained for int8; None where it was not.
        precisions: Those that are asked for.
        compresses: Whether it is to be compressed first.

    Raises:
        RequestError: One of them does not fit, or the network would be compressed after training for int8.
    """
    asked = [name for name, precision in PRECISIONS.items() if precision.is_trained and name in precisions]
    if asked and bits != 4:
        raise RequestError(
            f"{asked[0]} is for networks that were trained for it: export.compression.quantize_aware(model, "
            f"calibration=photos, bits=4). This one {'was not' if bits is None else f'was trained for {bits} bits'}."
        )
    if bits is None:
        return
    others = [precision for precision in precisions if precision not in TRAINED]
    if others or not precisions:
        raise RequestError(
            f"The network was trained for int8, and is written as {', '.join(TRAINED)}; "
            f"{', '.join(others) or 'no precision'} was asked for. Add --quantize int8 (from Python: "
            'precisions=["int8"]), or export the network that it was made from.'
        )
    if compresses:
        raise RequestError(
            "The network was trained for int8, and compressing it would undo that. Compress the network first, make it "
            "quantization-aware, and train it with KeepStructure."
        )
