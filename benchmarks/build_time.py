"""Time to build the largest networks, beside keras.applications, in one process.

python benchmarks/build_time.py --rounds 5
"""

from __future__ import annotations

import argparse
import gc
import statistics
import time

NETWORKS = {
    "resnet152": "ResNet152",
    "densenet201": "DenseNet201",
    "inception_resnet_v2": "InceptionResNetV2",
    "vgg16": "VGG16",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds

    import keras

    import kerascnn

    print("| network | Keras, s | ours, s | ratio |\n|---|---:|---:|---:|")
    for ours, theirs in NETWORKS.items():
        builders = {"ours": getattr(kerascnn.applications, ours), "theirs": getattr(keras.applications, theirs)}
        times: dict[str, list[float]] = {"ours": [], "theirs": []}
        for _ in range(rounds + 1):  # the first round pays for what is only done once
            for side, builder in builders.items():
                keras.backend.clear_session()
                gc.collect()
                start = time.process_time()
                builder(weights=None)
                times[side].append(time.process_time() - start)
        mine, other = (statistics.median(times[side][1:]) for side in ("ours", "theirs"))
        print(f"| {ours} | {other:.2f} | {mine:.2f} | {mine / other:.2f} |", flush=True)


if __name__ == "__main__":
    main()
