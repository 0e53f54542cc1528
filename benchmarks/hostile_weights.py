"""Alter good weights files of every kind, some thousand times, and print what became of them.

    python benchmarks/hostile_weights.py --tries 2000

Each kind runs in a process of its own, which is ended where a file takes more than 60 s. Kinds whose packages are not
installed are left out. "other": loaded as a whole, with other values, which formats without checksums cannot tell.
Memory is what a process holds at most above what it held before.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import resource
import tempfile
import warnings
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path

PATIENCE = 60.0  # seconds for one file


def run(kind: str, first: int, tries: int, to: Connection) -> None:
    """Send the verdict, seconds and memory of each seed, after the seed itself."""
    from tests import hostile_weights

    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        good = hostile_weights.sample(kind, Path(folder))
        held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        to.send(None)
        for seed in range(first, first + tries):
            to.send(seed)
            outcome = hostile_weights.try_altered(good, seed, Path(folder))
            wrong = outcome.verdict == "other" and not hostile_weights.may_be_other(good, seed)
            memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - held) / 1024
            to.send(("wrong" if wrong else outcome.verdict, outcome.seconds, memory, outcome.message))


def measure(kind: str, tries: int) -> tuple[Counter[str], float, float]:
    """Count the verdicts of a kind, and find the slowest file in seconds and the most memory in MiB."""
    verdicts: Counter[str] = Counter()
    slowest = most = 0.0
    begin = 0
    spawn = multiprocessing.get_context("spawn")
    while begin < tries:
        here, there = spawn.Pipe(duplex=False)
        process = spawn.Process(target=run, args=(kind, begin, tries - begin, there))
        process.start()
        there.close()
        seed = begin
        try:
            here.recv()
            while here.poll(PATIENCE):
                seed = here.recv()
                if not here.poll(PATIENCE):
                    break
                verdict, seconds, memory, message = here.recv()
                verdicts[verdict] += 1
                slowest, most = max(slowest, seconds), max(most, memory)
                if verdict not in ("refused", "same", "other"):
                    print(f"{kind}, seed {seed}: {verdict} {message}", flush=True)
            verdicts["never ended"] += 1
            print(f"{kind}, seed {seed}: never ended", flush=True)
        except EOFError:
            process.join()
            if not process.exitcode:
                break
            verdicts["ended the process"] += 1
            print(f"{kind}, seed {seed}: ended the process ({process.exitcode})", flush=True)
        process.kill()
        process.join()
        begin = seed + 1
    return verdicts, slowest, most


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tries", type=int, default=2000, help="altered files of each kind")
    tries = parser.parse_args().tries
    from tests.hostile_weights import available

    print("| kind | files | refused | same values | other values | anything else | slowest, s | memory, MiB |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    for kind in available():
        verdicts, slowest, most = measure(kind, tries)
        known = [verdicts.pop(verdict, 0) for verdict in ("refused", "same", "other")]
        rest = sum(verdicts.values())
        cells = [kind, sum(known) + rest, *known, rest, f"{slowest:.2f}", f"{most:.0f}"]
        print(f"| {' | '.join(map(str, cells))} |", flush=True)


if __name__ == "__main__":
    main()
