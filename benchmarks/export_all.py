"""Export every variant to every format, untrained and at its own size, and print one table.

    python benchmarks/export_all.py --output docs/exports.md            # all of them, about an hour on two cores
    python benchmarks/export_all.py 'resnet*' --results results.json    # some; resumes from what the file holds

Each export is verified as usual; the folder is removed once its figures are noted.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

HEAD = """# Every variant in every format

`python benchmarks/export_all.py` makes this table from untrained networks at their own input size. Each artifact runs
in its own runtime against the Keras model. Error: the largest difference of the logits, relative to the largest logit.
Latency: the median for one image, on two cores with other work on them, so it shows orders of magnitude only. The last
column is the whole export in seconds, with building and verifying."""
FORMATS = ("saved_model", "tflite", "onnx")


def measure(name: str) -> dict[str, Any]:
    """Figures of one variant: what was published, and why what was not."""
    from export.api import Rejected, run
    from export.errors import ExportError
    from export.opening import build
    from export.request import Request
    from kerascnn.console import quiet

    start = time.perf_counter()
    with quiet(), tempfile.TemporaryDirectory() as folder:
        loaded = build(name, weights="none", warn=lambda _: None)
        try:
            manifest = run(Request(formats=FORMATS), loaded, Path(folder) / name)
        except Rejected as error:
            manifest = error.manifest
        except ExportError as error:
            return {"failure": str(error)}
    row: dict[str, Any] = {"seconds": time.perf_counter() - start, "failure": ""}
    for artifact in manifest["artifacts"]:
        row[artifact["format"]] = {
            "error": artifact["parity"]["relative_error"],
            "bytes": artifact["bytes"],
            "latency": artifact["latency"]["median_ms"],
        }
    row["failure"] = "; ".join(f"{rejected['format']}: {rejected['reason']}" for rejected in manifest["rejected"])
    return row


def table(results: dict[str, dict[str, Any]]) -> str:
    """A Markdown table: for each variant and format the largest relative error, the size and the latency."""
    head = [
        "| variant | SavedModel | | | TFLite | | | ONNX | | | export |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    head.append("| " + " | ".join(["", *["error", "MB", "ms"] * 3, "s"]) + " |")
    lines = []
    for name, row in sorted(results.items()):
        cells = [name]
        for format in FORMATS:
            figures = row.get(format)
            cells += (
                [f"{figures['error']:.0e}", f"{figures['bytes'] / 1e6:.1f}", f"{figures['latency']:.1f}"]
                if figures
                else ["failed", "", ""]
            )
        lines.append("| " + " | ".join([*cells, f"{row.get('seconds', 0):.0f}"]) + " |")
    failures = [f"- {name}: {row['failure']}" for name, row in sorted(results.items()) if row["failure"]]
    return "\n".join([*head, *lines, "", *failures])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("patterns", nargs="*", default=["*"])
    parser.add_argument("--results", type=Path, default=Path("export_all.json"), help="figures so far, to resume from")
    parser.add_argument("--output", type=Path, help="Markdown file to write")
    arguments = parser.parse_args()

    from kerascnn import list_models

    results = json.loads(arguments.results.read_text()) if arguments.results.exists() else {}
    names = [name for pattern in arguments.patterns for name in list_models(pattern) if name not in results]
    # A process a variant: TensorFlow and the converters keep what large networks made them allocate.
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=1, mp_context=spawn, max_tasks_per_child=1) as pool:
        for name in names:
            results[name] = pool.submit(measure, name).result()
            arguments.results.write_text(json.dumps(results, indent=1))
            print(f"{name}: {results[name].get('seconds', 0):.0f} s {results[name]['failure']}", flush=True)
    text = table(results)
    if arguments.output:
        arguments.output.write_text(f"{HEAD}\n\n{text.rstrip()}\n")
    else:
        print(text)


if __name__ == "__main__":
    main()
