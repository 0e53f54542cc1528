"""Time to build the largest networks, beside keras.applications, in one process.

python benchmarks/build_time.py --rounds 5
"""

from __future__ import annotations

import argparse
import gc
import time
from functools import partial
from typing import Any

# ours, its options, Keras's
NETWORKS: list[tuple[str, dict[str, Any], str]] = [
    ("resnet152", {}, "ResNet152"),
    ("densenet201", {}, "DenseNet201"),
    ("inception_resnet_v2", {"bn_scale": False}, "InceptionResNetV2"),
    ("inception_resnet_v2", {}, "InceptionResNetV2"),  # 204 weights more than Keras's: the scales of its BN
    ("vgg16", {}, "VGG16"),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds

    import keras

    import kerascnn

    print("| network | Keras, s | ours, s | ratio |\n|---|---:|---:|---:|")
    for ours, options, theirs in NETWORKS:
        builders = {
            "ours": partial(getattr(kerascnn.applications, ours), **options),
            "theirs": getattr(keras.applications, theirs),
        }
        times: dict[str, list[float]] = {"ours": [], "theirs": []}
        for _ in range(rounds + 1):  # the first round pays for what is only done once
            for side, builder in builders.items():
                keras.backend.clear_session()
                gc.collect()
                start = time.process_time()
                builder(weights=None)
                times[side].append(time.process_time() - start)
        # the least disturbed round, as timeit does it
        mine, other = (min(times[side][1:]) for side in ("ours", "theirs"))
        name = " ".join([ours, *(f"{option}={value}" for option, value in options.items())])
        print(f"| {name} | {other:.2f} | {mine:.2f} | {mine / other:.2f} |", flush=True)


if __name__ == "__main__":
    main()
