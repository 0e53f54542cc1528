"""Folders that look like exports, for tests that read names, versions and manifests and run no model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path


def put_model(folder: Path, name: str, *, side: int = 224, versions: Sequence[int] = (1,)) -> Path:
    """A model of images of `side` pixels below `folder`, as export lays it out; gives its base path."""
    base_path = folder / name / "saved_model"
    for version in versions:
        (base_path / str(version)).mkdir(parents=True)
        (base_path / str(version) / "saved_model.pb").write_bytes(b"\0" * 1000)
    signature = {"input": {"name": "images", "shape": [None, side, side, 3], "dtype": "float32"}}
    (folder / name / "manifest.json").write_text(json.dumps({"signature": signature}))
    return base_path


def put_warmup(version: Path, sizes: dict[str, Sequence[int]]) -> None:
    """Warm-up requests {signature: batch sizes} in a version folder, as a server reads them."""
    import tensorflow as tf
    from tensorflow_serving.apis import prediction_log_pb2

    (version / "assets.extra").mkdir()
    with tf.io.TFRecordWriter(str(version / "assets.extra/tf_serving_warmup_requests")) as writer:
        for signature, batches in sizes.items():
            for size in batches:
                log = prediction_log_pb2.PredictionLog()
                log.predict_log.request.model_spec.signature_name = signature
                tensor = tf.make_tensor_proto([b"photo"] * size)
                log.predict_log.request.inputs["image_bytes"].CopyFrom(tensor)
                writer.write(log.SerializeToString())


def write_config(models: Path, config: Path) -> Path:
    """What `init` writes of the model config."""
    from serving.artifacts import find_models
    from serving.configuration.tfs import model_config

    path = config / "tfs/models.config"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(model_config.to_text(model_config.build(find_models(models))))
    return path
