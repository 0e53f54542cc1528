"""Layers and model classes that Keras lacks. Importing this package registers all of them with Keras.

A saved model that holds such layers loads without `custom_objects` once this package is imported, and brings what was
known of it (see `kerascnn.restoring`).
"""

from kerascnn import restoring
from kerascnn.layers.auxiliary import AuxiliaryModel
from kerascnn.layers.drop_path import FractalJoin, GlobalDropPath
from kerascnn.layers.ensembling import PhotoPreparation, WeightedMean
from kerascnn.layers.lenet import DistanceLoss, PartialConv2D, RadialBasis, TrainableSubsampling
from kerascnn.layers.normalization import LocalResponseNormalization
from kerascnn.layers.padding import ChannelPadding
from kerascnn.layers.pooling import AdaptiveAveragePooling2D
from kerascnn.layers.quantization import (
    FakeQuantization,
    QuantizedConv2D,
    QuantizedDense,
    QuantizedDepthwiseConv2D,
    QuantizedScale,
    trained_bits,
)
from kerascnn.layers.stochastic_depth import StochasticDepth, StochasticDepthModel

__all__ = [
    "AdaptiveAveragePooling2D",
    "AuxiliaryModel",
    "ChannelPadding",
    "DistanceLoss",
    "FakeQuantization",
    "FractalJoin",
    "GlobalDropPath",
    "LocalResponseNormalization",
    "PartialConv2D",
    "PhotoPreparation",
    "QuantizedConv2D",
    "QuantizedDense",
    "QuantizedDepthwiseConv2D",
    "QuantizedScale",
    "RadialBasis",
    "StochasticDepth",
    "StochasticDepthModel",
    "TrainableSubsampling",
    "WeightedMean",
    "trained_bits",
]

restoring.install()
