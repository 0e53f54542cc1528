"""`python -m tests.parity [variant ...] [--write]`: the parity table; `--write` renews tests/golden/."""

from __future__ import annotations

import argparse
import fnmatch
import os
import sys
import tempfile
import time
from pathlib import Path


def main() -> int:
    """Print one row a reference; the exit code is 1 where one of them differs."""
    parser = argparse.ArgumentParser(prog="python -m tests.parity", description=__doc__)
    parser.add_argument("variants", nargs="*", default=["*"], help="names or patterns, such as 'resnet*'")
    parser.add_argument("--write", action="store_true", help="write the references' answers into tests/golden/")
    arguments = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras

    from kerascnn import list_models

    from .caffe import missing
    from .comparing import compare
    from .references import REFERENCES

    chosen = [
        reference
        for reference in REFERENCES
        if any(fnmatch.fnmatchcase(reference.variant, pattern) for pattern in arguments.variants)
    ]
    known = set(list_models())
    failed = 0
    print("| variant | reference | parameters | MACs | error of logits | |")
    print("|---|---|---:|---:|---:|---|")
    for reference in chosen:
        if reference.variant not in known:
            print(f"| {reference.variant} | {reference.title} | | | | not built yet |")
            continue
        reason = missing(reference.name) if reference.package == "caffe" else ""
        if reason:
            print(f"| {reference.variant} | {reference.title} | | | | skipped: {reason} |")
            continue
        keras.backend.clear_session()
        begun = time.monotonic()
        try:
            with tempfile.TemporaryDirectory() as folder:
                row = compare(reference, Path(folder), write_golden=arguments.write)
        except Exception as error:
            failed += 1
            print(f"| {reference.variant} | {reference.title} | | | | {type(error).__name__}: {str(error)[:300]} |")
            continue
        failed += not row.passed
        parameters, macs = (
            f"{ours:,}" if ours == theirs else f"{ours:,} != {theirs:,}"
            for ours, theirs in ((row.parameters, row.their_parameters), (row.macs, row.their_macs))
        )
        verdict = "equal" if row.passed else "DIFFERENT"
        print(
            f"| {reference.variant} | {reference.title} | {parameters} | {macs} | {row.error:.1e} | {verdict} |",
            flush=True,
        )
        print(f"  {time.monotonic() - begun:.1f} s", file=sys.stderr)
    print(
        f"\n{len(chosen)} comparisons, {failed} failed. Reference = {', '.join(sorted({r.package for r in chosen}))}."
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
