"""Weights in four bits, through Google's ai-edge-quantizer (the extra `int4`).

The kernels of convolutions and dense layers get 15 steps a channel. Depthwise kernels get 255, because LiteRT has no
four bits for them. Activations stay in float32 and get a range for each image while running. SqueezeNet's weights are
useless when each is rounded to the nearest step, so the kernels come here on steps that were chosen for the photos
(`quantization/rounding.py`). The quantizer's recipes in blocks and with Hadamard rotations silently return a
convolutional network unchanged, and those with two bits one that answers NaN; they are not used.
"""

from __future__ import annotations

import contextlib
import io

from export.errors import ExportError

LEVELS = 7  # steps on either side of zero


def with_int4_weights(flatbuffer: bytes, weights: int) -> bytes:
    """Store the kernels of a float32 TFLite model in four bits.

    Args:
        flatbuffer: The model; its kernels lie on multiples of a seventh of the largest weight of each channel.
        weights: How many weights its kernels have.

    Raises:
        ExportError: The quantizer fails, or returns a model that is no smaller than one with int8 weights.
    """
    from ai_edge_quantizer import qtyping, quantizer

    operations = qtyping.TFLOperationName
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            recipe = quantizer.Quantizer(bytearray(flatbuffer))
            recipe.add_dynamic_config(".*", operations.ALL_SUPPORTED, num_bits=8)
            for operation in (operations.CONV_2D, operations.FULLY_CONNECTED):
                recipe.add_dynamic_config(".*", operation, num_bits=4)
            quantized = recipe.quantize(enable_progress_report=False).quantized_model
    except Exception as error:
        raise ExportError(f"ai-edge-quantizer could not make int4 weights: {error}") from error
    if quantized is None or len(quantized) >= weights:
        raise ExportError(
            f"ai-edge-quantizer left most of the {weights:,} weights in more than four bits: the file would have "
            f"{len(quantized or b''):,} bytes. Use dynamic or sparse-float16."
        )
    return bytes(quantized)
