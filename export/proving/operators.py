"""The operators of a .tflite file: how many there are, and the C++ that registers them in TFLite Micro."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from export.formats import tensorflow_lite

# Names of MicroMutableOpResolver's methods that do not follow from the operators' names.
_METHODS = {
    "BATCH_MATMUL": "BatchMatMul",
    "CUMSUM": "CumSum",
    "PADV2": "PadV2",
    "UNIDIRECTIONAL_SEQUENCE_LSTM": "UnidirectionalSequenceLSTM",
}


def count_operators(content: bytes) -> dict[str, int]:
    """Count the operators of a .tflite file by their names, such as CONV_2D, in the order of the alphabet."""
    schema = tensorflow_lite.schema()
    names = {number: name for name, number in vars(schema.BuiltinOperator).items() if isinstance(number, int)}
    model = schema.Model.GetRootAs(content, 0)
    codes = [model.OperatorCodes(index) for index in range(model.OperatorCodesLength())]
    kinds = [names[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())] for code in codes]
    graphs = [model.Subgraphs(index) for index in range(model.SubgraphsLength())]
    counts = Counter(
        kinds[graph.Operators(index).OpcodeIndex()] for graph in graphs for index in range(graph.OperatorsLength())
    )
    return dict(sorted(counts.items()))


def resolver(operators: Mapping[str, int]) -> str:
    """Write the C++ that registers operators in TFLite Micro, and no others: their kernels are in flash memory."""
    calls = [f"resolver.Add{_method(name)}();" for name in operators]
    return "\n".join([f"tflite::MicroMutableOpResolver<{len(calls)}> resolver;", *calls])


def _method(operator: str) -> str:
    words = (part if part == "2D" else part.capitalize() for part in operator.split("_"))
    return _METHODS.get(operator) or "".join(words)
