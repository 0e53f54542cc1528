"""The table that a person reads, on the terminal and in report.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from export.app.project import PLATFORMS
from export.report import exports, intervals, proofs

if TYPE_CHECKING:
    from rich.table import Table

COLUMNS = ("artifact", "precision", "size", "packed", "memory", "latency", "parity", "top-1", "top-5")


def rows(manifest: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """One row an artifact; first the Keras model where it was evaluated."""
    table: list[tuple[str, ...]] = []
    evaluation, compressed = exports.evaluation_of(manifest), manifest["compression"]
    if evaluation:
        if compressed and compressed["original"]:
            table.append(("original Keras model", "float32", *[""] * 5, *_accuracy(compressed["original"])))
        title = "compressed Keras model" if compressed else "Keras model"
        table.append((title, "float32", *[""] * 5, *_accuracy(evaluation["keras"])))
    if compressed:
        accuracy = _accuracy(evaluation["keras"] if evaluation else None)
        coded, memory = _size(compressed["bytes"]), _size(compressed["float32_bytes"])
        table.append((compressed["path"], "coded", coded, "", memory, "", "exact", *accuracy))
    for artifact in manifest["artifacts"]:
        table.append(
            (
                artifact["path"],
                artifact["precision"],
                _size(artifact["bytes"]),
                *(_size(artifact["sizes"].get(name)) for name in ("transport", "memory")),
                exports.milliseconds(artifact["latency"]["median_ms"]),
                parity(artifact),
                *_accuracy(exports.accuracy_of(manifest, artifact)),
            )
        )
    return table if exports.has_top5(manifest) else [(*row[:-1], "") for row in table]


def _size(size: int | None) -> str:
    return "" if size is None else exports.size(size)


def parity(artifact: Mapping[str, Any]) -> str:
    """Say how close an artifact is to the Keras model."""
    measured = artifact["parity"]
    if measured["relative_error"] == 0:
        return "identical"
    if artifact["precision"] == "float32":
        return f"{measured['relative_error']:.0e}"
    return f"{measured['sqnr_db']:.1f} dB"


def _accuracy(accuracy: Mapping[str, Any] | None) -> tuple[str, str]:
    if accuracy is None:
        return "", ""
    return f"{100 * accuracy['top1']:.1f} %", f"{100 * accuracy['top5']:.1f} %"


def notes(manifest: Mapping[str, Any]) -> list[str]:
    """What the table needs said beside it."""
    lines = []
    if manifest["weights"]["trained"] is False:
        lines.append("UNTRAINED: the weights are random; the answers of these artifacts mean nothing.")
    check = manifest["verification"]
    lines.append(
        f"Parity: {'each output' if 'outputs' in manifest['signature'] else 'logits'} against the Keras model on "
        f"{check['images']} {check['source']}; largest relative error for "
        "float32, signal to quantization noise for the others."
    )
    if manifest["compression"]:
        lines += _compression_notes(manifest["compression"], check)
        lines += _size_notes(manifest)
    threads = manifest["verification"]["threads"]
    lines.append(f"Latency: median of one image on this machine's CPU, {threads} threads in LiteRT and ONNX Runtime.")
    evaluation = exports.evaluation_of(manifest)
    if evaluation:
        lines.append(f"Accuracy: on {evaluation['keras']['images']} photos of {evaluation['source']}.")
        scored = {artifact["path"]: exports.accuracy_of(manifest, artifact) for artifact in manifest["artifacts"]}
        tied = [path for path, accuracy in scored.items() if accuracy and intervals.has_ties(accuracy)]
        lines += intervals.notes(evaluation["keras"], tied)
    for name in ("calibration", "evaluation"):
        part = manifest[name]
        if part and part["skipped"]:
            lines.append(f"{part['skipped']} files of the {name} photos could not be read and were skipped.")
    lines += exports.notes(manifest) + proofs.notes(manifest)
    if manifest.get("web"):
        lines.append(f"Page for browsers: {manifest['web']['path']}, from any static host: the folder is complete.")
    lines += [
        f"Project of an app: {app['path']}/, for {PLATFORMS[app['platform']].title}. It was not built here."
        for app in manifest.get("apps", ())
    ]
    for failed in manifest["compression"]["left_out"] if manifest["compression"] else []:
        lines.append(f"Left out: {failed['format']} {failed['precision']}: {failed['reason']}")
    for failed in manifest["rejected"]:
        lines.append(f"NOT PUBLISHED: {failed['format']} {failed['precision']}: {failed['reason']}")
    return lines


def _compression_notes(compressed: Mapping[str, Any], check: Mapping[str, Any]) -> list[str]:
    factor = compressed["float32_bytes"] / compressed["bytes"]
    lines = [
        f"Compressed on {compressed['photos']} photos: {compressed['path']} has {compressed['bytes']:,} bytes, "
        f"{factor:.1f} times less than the weights in float32. Every artifact was made from its weights and is "
        "compared with them.",
        f"Against the original network, on {check['images']} {check['source']}: the same best class for "
        f"{100 * compressed['top1_agreement']:.1f} %, divergence {compressed['divergence']:.3f} nats"
        + (
            ", top-1 {top1:+.1f} points, top-5 {top5:+.1f} points.".format(
                **{name: 100 * value for name, value in compressed["difference"].items()}
            )
            if compressed["difference"]
            else "."
        ),
    ]
    for step in compressed["steps"]:
        before, after = step["before"], step["after"]
        values = after["values"].values()
        line = (
            f"{step['name'].capitalize()}: {before['bytes']:,} to {after['bytes']:,} bytes, "
            f"{100 * before['sparsity']:.1f} to {100 * after['sparsity']:.1f} % zeros, {min(values)} to {max(values)} "
            "values a layer"
        )
        if after["accuracy"]:
            line += f", top-1 {100 * before['accuracy']['top1']:.1f} to {100 * after['accuracy']['top1']:.1f} %"
        lines.append(f"{line}.")
    return lines


def _size_notes(manifest: Mapping[str, Any]) -> list[str]:
    """Which of the four sizes is which."""
    lines = [
        "Sizes: a .kdc file is coded: kerascnn reads it, and its memory is that of the decoded weights. The size of "
        "every other artifact is that of the file that runs as it is."
    ]
    packed = [artifact for artifact in manifest["artifacts"] if artifact["packed"]]
    if packed:
        smallest = min(packed, key=lambda artifact: artifact["bytes"])
        lines.append(
            "Packed: the .kdz or .xz beside a .tflite file, for transport; python -m export unpack makes it the file "
            "again, and on a device the decoder in export/decoder does. Memory: what loading the file in LiteRT and "
            "answering one image adds to a process. The smallest file that runs as it is: "
            f"{smallest['path']}, {smallest['bytes']:,} bytes."
        )
    return lines


def terminal_table(manifest: Mapping[str, Any]) -> Table:
    """The table for a terminal, without the columns that are empty."""
    from rich import box
    from rich.table import Table

    body = rows(manifest)
    used = _used(body)
    table = Table(title=manifest["model"]["name"], box=box.SIMPLE_HEAD, title_justify="left")
    for i in used:
        table.add_column(COLUMNS[i], justify="left" if i < 2 else "right", no_wrap=i > 1)
    for row in body:
        table.add_row(*(row[i] for i in used))
    return table


def _used(body: list[tuple[str, ...]]) -> list[int]:
    """The columns that are not empty."""
    return [i for i in range(len(COLUMNS)) if any(row[i] for row in body)]


def markdown(manifest: Mapping[str, Any]) -> str:
    """report.md: the table, its notes, and where everything came from."""
    name = manifest["model"]["name"]
    lines = [f"# {name}", ""]
    body = rows(manifest)
    used = _used(body)
    lines += [_line(COLUMNS[i] for i in used), _line("---" if i < 2 else "---:" for i in used)]
    lines += [_line(row[i] for i in used) for row in body]
    lines += ["", *(f"- {note}" for note in notes(manifest)), ""]
    lines += proofs.markdown(manifest)
    lines += ["## Use", "", *(f"- {line}" for line in use(manifest)), ""]
    return "\n".join(lines)


def use(manifest: Mapping[str, Any]) -> list[str]:
    """What goes in and what comes out, and where everything came from."""
    signature = manifest["signature"]
    sources, targets = signature.get("inputs", [signature["input"]]), signature.get("outputs", [signature["output"]])
    weights = manifest["weights"]["source"]
    return [
        *(
            f"Input `{source['name']}`: {source['dtype']} {_shape(source['shape'])}; {_input_text(manifest)}"
            for source in sources
        ),
        *(
            f"Output `{target['name']}`: {target['dtype']} {_shape(target['shape'])}"
            + (", names in `labels.txt`" if manifest["labels"] else "")
            for target in targets
        ),
        f"Weights: {_weights_text(manifest, weights)}",
        "Made with: " + ", ".join(f"{package} {version}" for package, version in manifest["versions"].items()),
    ]


def _line(cells: Any) -> str:
    return "| " + " | ".join(cells) + " |"


def _shape(shape: Any) -> str:
    return "[" + ", ".join("batch" if size is None else str(size) for size in shape) + "]"


def _weights_text(manifest: Mapping[str, Any], weights: Mapping[str, Any] | None) -> str:
    if weights is None:
        return "random, not trained" if manifest["weights"]["trained"] is False else "those of the given model"
    return f"{weights.get('name') or weights.get('file')}, SHA-256 `{weights['sha256']}`"


def _input_text(manifest: Mapping[str, Any]) -> str:
    preprocessing = manifest["preprocessing"]
    if preprocessing is None:
        return "prepared as the model was trained with"
    steps = []
    if preprocessing["resize"]:
        resize = preprocessing["resize"]
        size = f"{resize[0]}x{resize[1]}" if isinstance(resize, list | tuple) else f"a shorter side of {resize}"
        steps.append(f"resize to {size} ({preprocessing['interpolation']})")
    if preprocessing["crop"]:
        steps.append("crop the center {}x{}".format(*preprocessing["crop"]))
    if preprocessing["included"]:
        return "; ".join([*steps, "RGB, 0 to 255 (the rest is in the artifacts)"])
    mean, std = list(preprocessing["mean"]), list(preprocessing["std"])
    return "; ".join([*steps, f"{preprocessing['channel_order'].upper()}, (x - {mean}) / {std} on 0 to 255"])
