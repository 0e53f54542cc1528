"""The development server under load: throughput with and without batching, overload, and memory over time.

    python -m export --model squeezenet --saved-model --output artifacts
    python benchmarks/serving_load.py --models artifacts --photos imagenet_sample_250.zip
    python benchmarks/serving_load.py --models artifacts --photos imagenet_sample_250.zip --minutes 10

Starts the server on loopback and asks it, over REST with `python -m serving loadtest`'s users and over gRPC with
threads that each have a client; they compare every reply with the one before the test. `--minutes` keeps 32 users at it
for that long instead, and looks at the server's memory.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from serving_paths import MODEL, development_server

from serving.client import Client, ClientError
from serving.client.errors import OverloadedError
from serving.operations import loadtest
from serving.operations.loadtest import Load, Report, Sample

USERS = (1, 8, 32)
PHOTOS = 16
OVERLOAD = 400  # users, more than the server admits requests


def write_photos(source: Path, folder: Path) -> list[Path]:
    """A few photos of a folder or zip, as files."""
    from export.images import find_images, spread

    found = find_images(source)
    paths = []
    for name in spread(found.names, PHOTOS):
        path = folder / Path(name).name
        path.write_bytes(found.open(name))
        paths.append(path)
    return paths


def resident_mb(process: int) -> float:
    """Memory of a process in MB."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1000


def threads(process: int) -> int:
    """Threads of a process."""
    return len(list(Path(f"/proc/{process}/task").iterdir()))


@contextmanager
def watched(process: int, every: float) -> Iterator[list[float]]:
    """Memory in MB, taken `every` so many seconds while the block runs."""
    found: list[float] = [resident_mb(process)]
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(every):
            found.append(resident_mb(process))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield found
    finally:
        stop.set()
        thread.join()


def row(name: str, load: str, report: Report) -> str:
    """A line of the table."""
    percentiles = " | ".join(f"{report.percentiles_ms[p]:.0f}" for p in (50, 90, 99))
    counts = f"{report.right} | {report.refused} | {report.wrong + report.failed}"
    return f"| {name} | {load} | {report.per_second:.1f} | {percentiles} | {counts} |"


def ask_rest(url: str, photos: list[Path], users: int, seconds: float) -> list[Sample]:
    """Let Locust's users ask."""
    return loadtest.run(url, MODEL, photos, Load(users=users, seconds=seconds))


def ask_grpc(url: str, photos: list[Path], users: int, seconds: float) -> list[Sample]:
    """Let threads ask with clients of their own, as Locust speaks HTTP; answers are compared with those before."""
    files = [photo.read_bytes() for photo in photos]
    with Client(url, MODEL, batch=1) as client:
        expected = [best[0].index for best in client.classify(files)]
    started = time.perf_counter()

    def user(number: int) -> list[Sample]:
        samples = []
        with Client(url, MODEL, batch=1, retries=0) as client:
            for place in itertools.cycle(range(len(files))):
                due = time.perf_counter() - started
                if due >= seconds:
                    return samples
                chosen = (place + number) % len(files)
                try:
                    (best,) = client.classify([files[chosen]])
                    outcome = "right" if best and best[0].index == expected[chosen] else "wrong"
                except OverloadedError:
                    outcome = "refused"
                except ClientError:
                    outcome = "failed"
                samples.append(Sample(due, time.perf_counter() - started - due, 0, outcome))
        return samples

    with ThreadPoolExecutor(users) as pool:
        return [sample for samples in pool.map(user, range(users)) for sample in samples]


def compare(models: Path, photos: list[Path], seconds: float, profile: Path) -> None:
    """Throughput over both wires at several numbers of users, then over REST of far more than are admitted."""
    columns = (
        "batching | over | load | right a second | 50 % ms | 90 % ms | 99 % ms | right | refused | wrong or failed"
    )
    print(f"| {columns} |")
    print("|---|---|---|---:|---:|---:|---:|---:|---:|---:|")
    told = []
    for name, more in (("none", []), (profile.name, ["--batching", str(profile)])):
        with development_server(models, *more) as (rest, grpc, process):
            for wire, url, users in (
                *(("REST", rest, users) for users in USERS),
                *(("gRPC", grpc, users) for users in USERS),
                ("REST", rest, OVERLOAD),
            ):
                with watched(process, 0.5) as memory:
                    ask = ask_grpc if wire == "gRPC" else ask_rest
                    report = loadtest.summarize(ask(url, photos, users, seconds), seconds)
                print(row(f"{name} | {wire}", f"{users} at a time", report), flush=True)
            with Client(rest, MODEL, retries=0) as client:
                recovered = bool(client.classify(photos[:1])[0])
        told.append(
            f"{name}, {OVERLOAD} at a time: refusals took {report.refusal_ms:.0f} ms in the median and "
            f"{report.max_refusal_ms:.0f} ms at most; memory {memory[0]:.0f} MB before, at most {max(memory):.0f} MB; "
            f"afterwards it {'answers' if recovered else 'does NOT answer'}."
        )
    print("\n" + "\n".join(told))


def endure(models: Path, photos: list[Path], minutes: float, profile: Path) -> None:
    """32 users for minutes: every reply checked, memory and threads watched."""
    with development_server(models, "--batching", str(profile)) as (rest, _, process):
        loadtest.run(rest, MODEL, photos, Load(users=32, seconds=10))  # what grows until everything was used once
        started = threads(process)
        with watched(process, 5) as memory:
            seconds = minutes * 60
            report = loadtest.summarize(loadtest.run(rest, MODEL, photos, Load(users=32, seconds=seconds)), seconds)
        print(row(f"{profile.name} | REST", f"32 at a time, {minutes:g} min", report))
        fifth = max(1, len(memory) // 5)
        first, last = sum(memory[:fifth]) / fifth, sum(memory[-fifth:]) / fifth
        print(f"Memory: {first:.0f} MB in the first fifth, {last:.0f} MB in the last, at most {max(memory):.0f} MB.")
        print(f"Threads: {started} before, {threads(process)} after.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=Path, default=Path("artifacts"))
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=10.0, help="for each row of the table")
    parser.add_argument("--minutes", type=float, help="keep 32 users at it for so long instead")
    arguments = parser.parse_args()

    from serving.configuration.tfs import batching

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "photos").mkdir()
        photos = write_photos(arguments.photos, folder / "photos")
        profile = folder / "cpu profile"
        profile.write_text(batching.to_text(next(p for p in batching.PROFILES if p.name == "cpu")))
        if arguments.minutes:
            endure(arguments.models, photos, arguments.minutes, profile)
        else:
            compare(arguments.models, photos, arguments.seconds, profile)


if __name__ == "__main__":
    main()
