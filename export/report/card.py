"""README.md: the model card of an export, in the form of the Hugging Face hub.

Its front matter is YAML whose values are written as JSON, which YAML includes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from export.report import exports, intervals, proofs, text
from kerascnn.registry import Variant, WeightsRecord, variants

Record = Mapping[str, Any]
_AS_KERASCNN, _NOT_STATED = "as kerascnn", "not stated"
_UNKNOWN = "unknown"  # the hub's word for a license that nobody has stated
_DATASETS = {"imagenet": "ILSVRC/imagenet-1k", "cifar10": "uoft-cs/cifar10", "mnist": "ylecun/mnist"}
_LIBRARIES = {"saved_model": "keras", "tflite": "tflite", "onnx": "onnx"}
_COLUMNS = ("artifact", "precision", "bytes", "parity", "top-1 (95 % interval)", "top-5", "photos")


def card(manifest: Record) -> str:
    """Return the card of a folder.

    Args:
        manifest: What is said of the folder.
    """
    front = [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in front_matter(manifest).items()]
    name, untrained = manifest["model"]["name"], manifest["weights"]["trained"] is False
    warning = ["> **UNTRAINED.** The weights are random; the answers of these artifacts mean nothing.", ""]
    lines = ["---", *front, "---", "", f"# {name}", "", *(warning if untrained else [])]
    sections = {
        "": _what(manifest),
        "Weights and license": _weights(manifest),
        "Use": [f"- {line}" for line in text.use(manifest) if not line.startswith("Weights:")],
        "Artifacts": _artifacts(manifest),
        proofs.HEADING: _proofs(manifest),
        "Limits": [f"- {line}" for line in limits(manifest)],
    }
    for title, body in sections.items():
        lines += [f"## {title}", "", *body, ""] if title else [*body, ""]
    return "\n".join(lines)


def front_matter(manifest: Record) -> dict[str, Any]:
    """Return the fields of huggingface_hub's `ModelCardData`; what is not known is left out.

    Args:
        manifest: What is said of the folder.
    """
    formats = list(dict.fromkeys(artifact["format"] for artifact in manifest["artifacts"]))
    precisions = dict.fromkeys(artifact["precision"] for artifact in manifest["artifacts"])
    variant, record = variant_of(manifest), weights_record(manifest)
    fields: dict[str, Any] = {
        "license": (license_of(manifest["weights"]["source"]) or _UNKNOWN).lower(),
        "library_name": _LIBRARIES[formats[0]] if formats else "keras",
        "tags": list(dict.fromkeys(["kerascnn", *([variant.family] if variant else []), *formats, *precisions])),
    }
    if classifies(manifest):
        fields["pipeline_tag"] = "image-classification"
    dataset = dataset_of(record)
    if dataset:
        fields["datasets"] = [dataset]
    results = _results(manifest) if manifest["weights"]["trained"] is not False else []
    if results:
        fields["metrics"] = ["accuracy"]
        fields["model-index"] = [{"name": manifest["model"]["name"], "results": results}]
    return fields


def _results(manifest: Record) -> list[dict[str, Any]]:
    """Return the results of each evaluation; artifacts that were scored on the same photos stand together."""
    found = []
    for export in (manifest, *manifest["earlier"]):
        evaluation = export["evaluation"]
        own = [artifact for artifact in manifest["artifacts"] if artifact["created"] == export["created"]]
        scored = [(artifact["path"], artifact["accuracy"]) for artifact in own if artifact["accuracy"]]
        if evaluation and scored:
            photos = f"{evaluation['source']} ({evaluation['keras']['images']} photos)"
            found.append(
                {
                    "task": {"type": "image-classification"},
                    "dataset": {"type": evaluation["source"], "name": photos},
                    "metrics": [
                        {"type": "accuracy", "name": f"{metric}, {path}", "value": round(accuracy[key], 4)}
                        for path, accuracy in (("Keras model", evaluation["keras"]), *scored)
                        for key, metric in metrics(manifest)
                    ],
                }
            )
    return found


def classifies(manifest: Record) -> bool:
    """Return whether the network is known to name what is on a photo."""
    return bool(manifest["labels"] or exports.evaluation_of(manifest))


def metrics(manifest: Record) -> list[tuple[str, str]]:
    """Return the accuracies that say something, as (key, name)."""
    return [("top1", "top-1"), ("top5", "top-5")] if exports.has_top5(manifest) else [("top1", "top-1")]


def variant_of(manifest: Record) -> Variant | None:
    """Return the variant that was built; None for a network that kerascnn did not build."""
    return variants().get(manifest["model"]["variant"] or "")


def weights_record(manifest: Record) -> WeightsRecord | None:
    """Return the record of the published weights; None where they are others."""
    variant, source = variant_of(manifest), manifest["weights"]["source"]
    if variant is None or source is None:
        return None
    found = (
        one
        for one in variant.weights
        if one.full_name == source.get("name") or (one.sha256 == source["sha256"] and one.sha256)
    )
    return next(found, None)


def dataset_of(record: WeightsRecord | None) -> str | None:
    """Return the hub's name of the data whose classes published weights know; None where it is not on record."""
    if record is None:
        return None
    return _DATASETS.get(record.labels if isinstance(record.labels, str) else record.name)


def license_of(source: Record | None) -> str | None:
    """Return the SPDX identifier of the license of weights; None where nobody has stated it."""
    stated = (source or {}).get("licence") or _NOT_STATED
    return {_NOT_STATED: None, _AS_KERASCNN: "Apache-2.0"}.get(stated, stated)


def _what(manifest: Record) -> list[str]:
    variant = variant_of(manifest)
    made = (
        "Made by `python -m export` of kerascnn. The same network in several files, each compared with the Keras model."
    )
    if manifest["compression"]:
        made += " It was made smaller first; what that did to it is in `report.md`."
    if variant is None:
        return [f"A Keras model that was not built by kerascnn. {made}"]
    what = f"{variant.title}, after: {variant.paper} ({variant.year})."
    options = ", ".join(f"`{name}={value!r}`" for name, value in manifest["model"]["options"].items())
    return [f"{what}{f' Built with {options}.' if options else ''} {made}"]


def _weights(manifest: Record) -> list[str]:
    weights, record = manifest["weights"], weights_record(manifest)
    source = weights["source"]
    if source is None:
        return ["Random; nobody has trained them." if weights["trained"] is False else "Their origin is not known."]
    lines = [f"- {source.get('name') or source.get('file')}, SHA-256 `{source['sha256']}`"]
    if source.get("url"):
        lines.append(f"- Address: <{source['url']}>")
    stated = license_of(source)
    if stated is None:
        lines.append("- License: not known. Ask who published the weights before you pass the files on.")
    else:
        lines.append(f"- License: {stated}{', as kerascnn' if source['licence'] == _AS_KERASCNN else ''}")
    if dataset := dataset_of(record):
        lines.append(f"- Classes: those of {dataset}. What else the weights were trained on is not on record.")
    if record and record.errors and not manifest["compression"]:
        lines.append(f"- Published top-1 error: {record.errors.top1} % ({record.errors.source}); not measured here.")
    return lines


def _accuracy(manifest: Record, scored: Record | None, evaluation: Record | None) -> tuple[str, str, str]:
    if not scored or not evaluation:
        return "not measured", "", ""
    return (
        f"{100 * scored['top1']:.1f} % ({intervals.interval(scored)})",
        f"{100 * scored['top5']:.1f} %" if exports.has_top5(manifest) else "",
        f"{scored['images']} of {evaluation['source']}",
    )


def _artifacts(manifest: Record) -> list[str]:
    rows: list[Sequence[str]] = [_COLUMNS, ("---",) * len(_COLUMNS)]
    last = exports.evaluation_of(manifest)
    if last:
        rows.append(("Keras model", "float32", "", "", *_accuracy(manifest, last["keras"], last)))
    for artifact in manifest["artifacts"]:
        evaluation = exports.export_of(manifest, artifact)["evaluation"]
        accuracy = _accuracy(manifest, artifact["accuracy"], evaluation)
        size = f"{artifact['bytes']:,}"
        rows.append((artifact["path"], artifact["precision"], size, text.parity(artifact), *accuracy))
    compressed = manifest["compression"]
    if compressed:
        measured = "as the Keras model" if last else "not measured"
        rows.append((compressed["path"], "coded", f"{compressed['bytes']:,}", "exact", measured, "", ""))
    return [f"| {' | '.join(row)} |" for row in rows]


def _proofs(manifest: Record) -> list[str]:
    lines = []
    for artifact in manifest["artifacts"]:
        said = [
            f"{proofs.TITLES[proof['runtime']]} {proof['version']} ({proofs.words(proof, artifact)})"
            for proof in artifact["proofs"]
            if proof["status"] == "proven"
        ]
        lines.append(f"- {artifact['path']}: {', '.join(said) or 'not on record'}")
    page = manifest.get("web")
    if page and page["proof"]["status"] == "proven":
        lines.append(f"- {page['path']}: Chromium {page['proof']['version']}")
    return lines


def limits(manifest: Record) -> list[str]:
    """Say what is not known of the artifacts, in sentences."""
    check, trained = manifest["verification"], manifest["weights"]["trained"]
    lines = [f"Parity was measured on {check['images']} {check['source']}."]
    if trained is None:
        lines.append("Whether the weights are trained, and on what, is not known.")
    if not any(artifact["accuracy"] for artifact in manifest["artifacts"]):
        lines.append("The accuracy of these files is not known: no photos with known classes were given.")
    else:
        lines.append("Accuracies are those on the photos in the table; on photos of another kind they are not known.")
    lines.append("Whether some groups of people or things are recognized less well is not known: it was not measured.")
    lines.append("Runtimes and devices that are not named here were not tried.")
    lines += proofs.notes(manifest)
    lines += [f"Not published: {row['format']} {row['precision']}: {row['reason']}" for row in manifest["rejected"]]
    return lines
