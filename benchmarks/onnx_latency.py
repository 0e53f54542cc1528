"""Latency in ONNX Runtime of our ResNet-50 beside the same network exported from torchvision.

    python benchmarks/onnx_latency.py --rounds 5

Both have random weights and the stride on the 3x3, and are measured in turns in one process. Needs the extra `parity`.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np


def write_ours(path: Path) -> None:
    """kerascnn's ResNet-50 through this package's writer."""
    import kerascnn
    from export.formats.onnx import write_onnx
    from export.tracing.graph import trace

    write_onnx(trace(kerascnn.create_model("resnet50", stride_in_1x1=False)), path)


def write_torchvision(path: Path) -> None:
    """torchvision's ResNet-50 through torch's own exporter."""
    from tests.parity.comparing import torch_packages

    torch, torchvision, _ = torch_packages()
    model = torchvision.models.resnet50(weights=None).eval()
    names = {"input_names": ["images"], "output_names": ["scores"], "dynamic_axes": {"images": {0: "batch"}}}
    torch.onnx.export(model, torch.zeros(1, 3, 224, 224), str(path), dynamo=False, opset_version=17, **names)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--runs", type=int, default=20, help="inferences in each round")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()

    import onnxruntime

    sessions, times = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for name, write in (("ours", write_ours), ("torchvision", write_torchvision)):
            path = Path(folder) / f"{name}.onnx"
            write(path)
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = arguments.threads
            sessions[name] = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    images = np.random.default_rng(0).normal(size=(1, 224, 224, 3)).astype(np.float32)
    inputs = {"ours": images, "torchvision": np.ascontiguousarray(images.transpose(0, 3, 1, 2))}
    for _ in range(arguments.rounds):
        for name, session in sessions.items():
            session.run(None, {"images": inputs[name]})
            for _ in range(arguments.runs):
                start = time.perf_counter()
                session.run(None, {"images": inputs[name]})
                times.setdefault(name, []).append(1000 * (time.perf_counter() - start))
    print(f"| ResNet-50, batch 1, {arguments.threads} threads | median ms | fastest ms |")
    print("|---|---:|---:|")
    for name, found in times.items():
        print(f"| {name} | {statistics.median(found):.1f} | {min(found):.1f} |")


if __name__ == "__main__":
    main()
