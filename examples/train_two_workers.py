"""Train with two workers on this machine, kill one in the middle of an epoch, go on, and compare with one worker.

    python examples/train_two_workers.py --data mnist.npz --images 6000 --output runs/two_workers

Every worker is the ordinary command `python -m kerascnn train …` with a TF_CONFIG of its own; on several machines they
would be started there, with --output on a disk that all of them share.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from kerascnn.training.callbacks import read_history
from kerascnn.training.checkpoints import NAME, read_state

PATIENCE = 180  # seconds after which a worker that waits for a dead one is ended from here


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, metavar="FILE.npz", help="such as MNIST's")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="a new folder")
    parser.add_argument("--model", default="lenet5")
    parser.add_argument("--recipe", default="onecycle_mnist")
    parser.add_argument("--images", type=int, help="train on the first so many, validate with a fifth of that")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch", type=int, default=100, help="of both workers together")
    arguments = parser.parse_args()
    if arguments.epochs < 2:
        parser.error("--epochs is at least 2: the worker is killed in the second one.")
    if arguments.output.exists():
        shutil.rmtree(arguments.output)
    arguments.output.mkdir(parents=True)

    data = shorten(arguments.data, arguments.images, arguments.output / "images.npz")
    command = [sys.executable, "-m", "kerascnn", "train", "--model", arguments.model, "--recipe", arguments.recipe]
    command += ["--data", str(data), "--epochs", str(arguments.epochs), "--batch", str(arguments.batch)]
    folders = {name: arguments.output / name for name in ("one", "two", "killed")}
    seconds = {
        "one": train([*command, "--output", str(folders["one"])], 1),
        "two": train([*command, "--output", str(folders["two"])], 2),
    }
    again = [*command, "--output", str(folders["killed"])]
    kill(again, folders["killed"])
    seconds["killed"] = train(again, 2)

    titles = {"one": "one worker", "two": "two workers", "killed": "two, one killed, run again"}
    print(f"\n{'':28} {'loss of each epoch':{9 * arguments.epochs}} validation  weights differ  seconds")
    for name, folder in folders.items():
        rows = read_history(folder / "history.csv")
        losses = "".join(f"{row['loss']:9.5f}" for row in rows)
        differ = difference(folder / NAME, folders["one"] / NAME)
        print(f"{titles[name]:28}{losses} {rows[-1]['val_accuracy']:10.2%} {differ:15.1e} {seconds[name]:8.0f}")


def shorten(path: Path, images: int | None, short: Path) -> Path:
    """The file itself, or one with its first images."""
    if images is None:
        return path
    with np.load(path) as file:
        parts = {name: file[name][: images if "train" in name else images // 5] for name in file.files}
    np.savez(short, **parts)
    return short


def start(command: list[str], workers: int) -> list[subprocess.Popen[bytes]]:
    """The same command as so many workers, each on a free port of this machine; the chief's messages are shown."""
    with socket.socket() as one, socket.socket() as other:
        for listener in (one, other):
            listener.bind(("127.0.0.1", 0))
        addresses = [f"127.0.0.1:{listener.getsockname()[1]}" for listener in (one, other)][:workers]
    started = []
    for index in range(workers):
        task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        environment = {
            **os.environ,
            "KERAS_BACKEND": "jax",
            "TF_CONFIG": json.dumps(task),
            "TF_CPP_MIN_LOG_LEVEL": "3",
        }
        output = None if index == 0 else subprocess.DEVNULL
        started.append(subprocess.Popen(command, env=environment, stdout=output))
    return started


def train(command: list[str], workers: int) -> float:
    """Train to the end; the seconds that it took."""
    print(f"\n{workers} worker{'s' * (workers > 1)}: {' '.join(command[1:])}", flush=True)
    begun = time.monotonic()
    codes = [worker.wait() for worker in start(command, workers)]
    if any(codes):
        sys.exit(f"The workers ended with {codes}.")
    return time.monotonic() - begun


def kill(command: list[str], folder: Path) -> None:
    """Start two workers, and kill the second with SIGKILL after the first epoch's checkpoint."""
    print(f"\n2 workers, of which one will be killed: {' '.join(command[1:])}", flush=True)
    workers = start(command, 2)
    while not (folder / NAME).exists() and workers[0].poll() is None:
        time.sleep(0.02)
    time.sleep(0.1)
    workers[1].kill()
    killed = time.monotonic()
    try:
        code = workers[0].wait(PATIENCE)
    except subprocess.TimeoutExpired:
        workers[0].kill()
        code = workers[0].wait()
    print(f"worker 1 was killed; worker 0 ended by itself with {code} after {time.monotonic() - killed:.0f} s")
    state = read_state(folder / NAME)
    print(f"the checkpoint is of step {state['step']}")


def difference(one: Path, other: Path) -> float:
    """The greatest difference between the numbers of two checkpoints: weights, momentum and all else a step reads."""
    with np.load(one) as first, np.load(other) as second:
        names = [name for name in first.files if name != "state" and first[name].dtype.kind == "f"]
        return max(float(np.abs(first[name] - second[name]).max()) for name in names)


if __name__ == "__main__":
    main()
