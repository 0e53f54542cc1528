"""The models that the golden requests are sent to, and the configuration to serve them with.

To hold a real TensorFlow Serving against the same table (and, for the rows about batching, one with
--enable_batching=true --batching_parameters_file=/models/batching.config as TFS_BATCHING_URL):

    python tests/serving/golden_models.py /tmp/golden
    docker run --rm -p 8501:8501 -p 8500:8500 -v /tmp/golden:/models tensorflow/serving:2.20.0 \\
        --model_config_file=/models/models.config --allow_version_labels_for_unavailable_models=true \\
        --monitoring_config_file=/models/monitoring.config
    TFS_URL=http://127.0.0.1:8501 TFS_GRPC=127.0.0.1:8500 pytest tests/serving/development/test_golden_requests.py
"""

from __future__ import annotations

import sys
from pathlib import Path

CONFIG = """
model_config_list {
  config {
    name: "half"
    base_path: "/models/half"
    model_platform: "tensorflow"
    model_version_policy { specific { versions: 1 versions: 2 } }
    version_labels { key: "stable" value: 1 }
    version_labels { key: "canary" value: 2 }
    version_labels { key: "gone" value: 7 }
  }
  config { name: "tensors" base_path: "/models/tensors" model_platform: "tensorflow" }
}
"""
MONITORING = 'prometheus_config { enable: true path: "/monitoring/prometheus/metrics" }'
BATCHING = "max_batch_size { value: 4 } batch_timeout_micros { value: 1000 } allowed_batch_sizes: 4"


def write(folder: Path) -> None:
    """Write the models and models.config into `folder`."""
    for version in (1, 2):
        write_half(folder / "half" / str(version), offset=1.0 + version)
    write_tensors(folder / "tensors" / "1")
    (folder / "models.config").write_text(CONFIG)
    (folder / "monitoring.config").write_text(MONITORING)
    (folder / "batching.config").write_text(BATCHING)


def write_half(folder: Path, offset: float) -> None:
    """y = x / 2 + offset, to predict, to classify and to regress, as TensorFlow 1 wrote such models."""
    import tensorflow as tf

    v1 = tf.compat.v1
    info = v1.saved_model.build_tensor_info
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [None], "x")
        half, shift = v1.get_variable("half", initializer=0.5), v1.get_variable("shift", initializer=offset)
        examples = v1.placeholder(tf.string, [None], "examples")
        parsed = tf.io.parse_example(
            examples,
            {"x": tf.io.FixedLenFeature([1], tf.float32), "scale": tf.io.FixedLenFeature([1], tf.float32, [1.0])},
        )
        value = half * parsed["x"] * parsed["scale"] + shift
        classes = tf.tile([["small", "large"]], [tf.shape(value)[0], 1])
        scores = tf.concat([value, -value], axis=1)
        session.run(v1.global_variables_initializer())
        build = v1.saved_model.build_signature_def
        signatures = {
            "serving_default": build({"x": info(x)}, {"y": info(half * x + shift)}, "tensorflow/serving/predict"),
            "regress": build({"inputs": info(examples)}, {"outputs": info(value)}, "tensorflow/serving/regress"),
            "classify": build(
                {"inputs": info(examples)},
                {"classes": info(classes), "scores": info(scores)},
                "tensorflow/serving/classify",
            ),
            "another_method": build({"x": info(x)}, {"y": info(half * x + shift)}, "somebody/elses/method"),
            "scores": build({"inputs": info(examples)}, {"scores": info(scores)}, "tensorflow/serving/classify"),
        }
        builder = v1.saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(session, ["serve"], signatures)
        builder.save()


def write_tensors(folder: Path) -> None:
    """A signature for each kind of tensor that a request or a reply can hold."""
    import tensorflow as tf

    module = tf.Module()
    module.one = tf.Variable(1.0)

    def identity(dtype: tf.DType) -> object:
        @tf.function(input_signature=[tf.TensorSpec([None], dtype, "x")])
        def same(x: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"y": tf.identity(x)}

        return same

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, "a"), tf.TensorSpec([None], tf.int32, "b")])
    def two(a: tf.Tensor, b: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"sum": a * module.one + tf.cast(b, tf.float32)[:, None], "twice": b * 2}

    @tf.function(input_signature=[tf.TensorSpec([None, 2, 2], tf.float32, "x")])
    def image(x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": tf.reduce_sum(x, axis=[1, 2]) * module.one}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    def total(x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": tf.reduce_sum(x) * module.one}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    def logarithm(x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": tf.math.log(x) * module.one}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    def half_float(x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": tf.cast(x, tf.float16)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "x")])
    def text(x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"plain": x, "raw_bytes": x}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "x")])
    def length(x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": tf.strings.length(x)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    def rows(x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": x, "first": x[:1]}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32, "x")])
    def picked(x: tf.Tensor) -> dict[str, tf.Tensor]:
        with tf.control_dependencies([tf.debugging.assert_less(x, 3, message="only three are there")]):
            return {"y": tf.gather(tf.constant([10, 20, 30]), x)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    def one_text(x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": tf.strings.as_string(tf.reduce_sum(x), precision=1)}

    @tf.function(input_signature=[tf.TensorSpec([], tf.float32, "x")])
    def scalar(x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": x * module.one}

    @tf.function(input_signature=[])
    def nothing() -> dict[str, tf.Tensor]:
        return {"y": module.one[None]}

    def from_examples(*outputs: str, dtype: tf.DType = tf.float32) -> object:
        """As TensorFlow 2 saves it: to classify or to regress by its names, with the method predict."""

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "inputs")])
        def examples(inputs: tf.Tensor) -> dict[str, tf.Tensor]:
            x = tf.io.parse_example(inputs, {"x": tf.io.FixedLenFeature([1], tf.float32)})["x"]
            return {name: tf.cast(x, dtype) for name in outputs}

        return examples

    functions = {
        "serving_default": two,
        "one_text": one_text,
        "scalar": scalar,
        "nothing": nothing,
        "scores": from_examples("scores"),
        "regress": from_examples("outputs"),
        "double_scores": from_examples("scores", dtype=tf.float64),
        "integers": from_examples("outputs", dtype=tf.int64),
        "two_outputs": from_examples("outputs", "more"),
        "image": image,
        "total": total,
        "logarithm": logarithm,
        "half_float": half_float,
        "text": text,
        "length": length,
        "rows": rows,
        "picked": picked,
    }
    for dtype in (tf.float64, tf.int8, tf.uint8, tf.int64, tf.bool, tf.uint16):
        functions[dtype.name] = identity(dtype)
    module.functions = list(functions.values())
    tf.saved_model.save(module, str(folder), signatures=functions)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
