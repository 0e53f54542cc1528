"""SqueezeNet served over every path: does top-1 equal the offline figure, and what does each path cost?

    python -m export --model squeezenet --saved-model --output artifacts --evaluate imagenet_sample_250.zip
    python benchmarks/serving_paths.py --models artifacts --photos imagenet_sample_250.zip

Starts the development server on loopback and sends every photo as a file (JPEG bytes), as floats that were prepared
here, and, where the model has the signature, as pixels; over REST and over gRPC; one photo in a request, one request at
a time. The offline figure is the SavedModel's own, run by `export.checking.runtimes` on the same photos.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kerascnn.statistics import with_interval
from serving.client import Client, messages
from serving.contract import BYTES_SIGNATURE, UINT8_SIGNATURE

MODEL = "squeezenet"


@dataclass(frozen=True)
class Photos:
    """The photos: as files, as floats that were prepared for the network, as pixels, and the classes they show."""

    files: list[bytes]
    floats: np.ndarray
    pixels: list[np.ndarray]
    classes: np.ndarray


def read_photos(source: Path, count: int) -> Photos:
    """`count` photos of `source`, a folder or zip of WNID/INDEX_name.jpg."""
    from PIL import Image

    import kerascnn
    from export.images import find_images, load_images, spread
    from kerascnn.photos.preprocessing import Preprocessing

    found = find_images(source)
    names = spread(found.names, count)
    (record,) = (r for r in kerascnn.registry.variants()[MODEL].weights if r.name == "imagenet")
    loaded = load_images(found, names, Preprocessing.from_record(record))
    assert not loaded.skipped, loaded.skipped
    files = [found.open(name) for name in names]
    pixels = [np.asarray(Image.open(io.BytesIO(file)).convert("RGB")) for file in files]
    classes = np.array([int(Path(name).name.partition("_")[0]) for name in names])
    return Photos(files, loaded.images, pixels, classes)


def offline(model: Path, photos: Photos) -> np.ndarray:
    """The best class of each photo, by the SavedModel itself."""
    from export.formats.saved_model import open_saved_model

    runtime = open_saved_model(model)
    return np.concatenate([runtime.predict(batch).argmax(1) for batch in np.array_split(photos.floats, 10)])


@contextmanager
def development_server(models: Path, *more: str) -> Iterator[tuple[str, str, int]]:
    """A development server of its own process: its REST and gRPC addresses, and the process's number."""
    command = [sys.executable, "-m", "serving", "dev", "--models", str(models), "--rest-port", "0", "--grpc-port", "0"]
    process = subprocess.Popen([*command, *more], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        addresses = {}
        while "REST" not in addresses:
            line = process.stdout.readline()
            assert line, "the server ended early"
            if line[:4] in ("REST", "gRPC"):
                addresses[line[:4]] = line.split()[1]
        yield addresses["REST"], f"grpc://{addresses['gRPC']}", process.pid
    finally:
        process.terminate()
        process.wait(60)


def make_request(photos: Photos, form: str, index: int) -> tuple[str, dict[str, np.ndarray]]:
    """The signature and the inputs that one photo is sent with."""
    if form == "JPEG":
        return BYTES_SIGNATURE, {"image_bytes": np.array([photos.files[index]], dtype=object)}
    if form == "uint8":
        return UINT8_SIGNATURE, {"images": photos.pixels[index][None]}
    return "", {"images": photos.floats[index : index + 1]}


def best_class(outputs: dict[str, np.ndarray]) -> int:
    """The likeliest class in a reply, which holds the best classes or all probabilities."""
    if "top_ids" in outputs:
        return int(outputs["top_ids"][0, 0])
    (probabilities,) = outputs.values()
    return int(probabilities[0].argmax())


def body_bytes(scheme: str, signature: str, inputs: dict[str, np.ndarray]) -> int:
    """How large a request's body is on the wire."""
    if scheme == "grpc":
        request = messages.message_class("PredictRequest")()
        request.model_spec.name, request.model_spec.signature_name = MODEL, signature
        for name, value in inputs.items():
            messages.to_proto(value, request.inputs[name])
        return request.ByteSize()
    values = {
        name: [{"b64": base64.b64encode(value[0]).decode()}] if value.dtype.kind == "O" else value.tolist()
        for name, value in inputs.items()
    }
    return len(json.dumps({"inputs": values, "signature_name": signature}))


def measure(url: str, form: str, photos: Photos, indices: np.ndarray) -> tuple[np.ndarray, list[float], float]:
    """The class of each photo, milliseconds for each, and the mean size of a request in kB."""
    found, times, sizes = [], [], []
    with Client(url, MODEL, timeout=60) as client:
        signature, inputs = make_request(photos, form, 0)
        client.predict(inputs, signature=signature)  # opens the connection, and warms up
        for index in indices:
            signature, inputs = make_request(photos, form, index)
            start = time.perf_counter()
            outputs = client.predict(inputs, signature=signature)
            times.append(1000 * (time.perf_counter() - start))
            found.append(best_class(outputs))
            if len(sizes) < 20:
                sizes.append(body_bytes(url.partition(":")[0], signature, inputs))
    return np.array(found), times, statistics.mean(sizes) / 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=Path, default=Path("artifacts"))
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--count", type=int, default=250)
    parser.add_argument(
        "--json-pixels", type=int, default=20, help="photos over REST as pixels, megabytes of JSON each"
    )
    arguments = parser.parse_args()

    from serving.artifacts import find_models

    (served,) = (model for model in find_models(arguments.models) if model.name == MODEL)
    photos = read_photos(arguments.photos, arguments.count)
    reference = offline(served.path(served.versions[-1]), photos)
    offline_top1 = with_interval((reference == photos.classes).mean(), len(reference))
    print(f"offline: top-1 {offline_top1}, {len(reference)} photos\n")
    print("| path | photos | top-1 | same class as offline | KB a request | median ms | 90 % ms |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    with development_server(arguments.models) as (rest, grpc, _):
        for url in (rest, grpc):
            scheme = url.partition(":")[0]
            for form in ("JPEG", "uint8", "float32"):
                count = arguments.json_pixels if (scheme, form) == ("http", "uint8") else arguments.count
                indices = np.linspace(0, len(reference) - 1, min(count, len(reference))).astype(int)
                found, times, size = measure(url, form, photos, indices)
                right, same = np.mean(found == photos.classes[indices]), int(np.sum(found == reference[indices]))
                median, slow = statistics.median(times), float(np.percentile(times, 90))
                name = f"{'REST' if scheme == 'http' else 'gRPC'} {form}"
                row = (
                    f"| {name} | {len(indices)} | {with_interval(right, len(indices))} | {same} | {size:,.1f} | "
                    f"{median:.0f} | {slow:.0f} |"
                )
                print(row, flush=True)


if __name__ == "__main__":
    main()
