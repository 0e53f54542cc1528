"""bom.cdx.json: the bill of materials of an export, in the form of CycloneDX 1.6.

The library of CycloneDX for Python has no model cards yet, so this is plain JSON; the tests hold it against the schema.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from export.files import digest_of, files_of
from export.report import card, exports, proofs
from kerascnn.statistics import wilson

BOM = "bom.cdx.json"
Record = Mapping[str, Any]
_ROOT = "network"
_DATASETS = "https://huggingface.co/datasets/"


def bom(manifest: Record, folder: Path) -> dict[str, Any]:
    """Return the bill of materials of a folder.

    Args:
        manifest: What is said of the folder.
        folder: The folder, with its artifacts.
    """
    dataset = card.dataset_of(card.weights_record(manifest))
    artifacts = [_artifact(manifest, artifact, folder) for artifact in manifest["artifacts"]]
    compressed = manifest["compression"]
    if compressed:
        artifacts.append(_model(compressed["path"], hashes=_sha256(compressed["sha256"])))
    data = [{"type": "data", "bom-ref": dataset, "name": dataset, "data": [_dataset(dataset)]}] if dataset else []
    identity = f"{manifest['model']['sha256']} {manifest['created']}"
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, identity)}",
        "version": 1,
        "metadata": {
            "timestamp": manifest["created"],
            "tools": {"components": _tools(manifest)},
            "component": _network(manifest, dataset),
        },
        "components": [*artifacts, *data, *_runtimes(manifest)],
        "dependencies": [
            *({"ref": one["bom-ref"], "dependsOn": [_ROOT]} for one in artifacts),
            {"ref": _ROOT, "dependsOn": [dataset] if dataset else []},
        ],
    }


def _network(manifest: Record, dataset: str | None) -> dict[str, Any]:
    model, variant, source = manifest["model"], card.variant_of(manifest), manifest["weights"]["source"]
    interface = manifest["signature"]
    parameters: dict[str, Any] = {
        "architectureFamily": "convolutional neural network" if variant is None else variant.family,
        "modelArchitecture": model["variant"] or model["name"],
        "inputs": [{"format": _words(one)} for one in interface.get("inputs") or [interface["input"]]],
        "outputs": [{"format": _words(one)} for one in interface.get("outputs") or [interface["output"]]],
    }
    if card.classifies(manifest):
        parameters |= {"task": "image-classification", "approach": {"type": "supervised"}}
    if dataset:
        parameters["datasets"] = [{"ref": dataset}]
    evaluation = exports.evaluation_of(manifest)
    described: dict[str, Any] = {
        "modelParameters": parameters,
        "considerations": {"technicalLimitations": card.limits(manifest)},
    }
    if evaluation:
        described["quantitativeAnalysis"] = _accuracy(manifest, evaluation["keras"], evaluation)
    properties = {"network-sha256": model["sha256"], "trained": manifest["weights"]["trained"]}
    network = _model(model["name"], modelCard=described, properties=_properties(properties)) | {"bom-ref": _ROOT}
    if source is None:
        return network
    # The network has the license of its weights, and these are what it was made from.
    origin = _model(source.get("name") or source["file"], hashes=_sha256(source["sha256"])) | {"bom-ref": "weights"}
    if source.get("url"):
        origin["externalReferences"] = [{"type": "distribution", "url": source["url"]}]
    licenses = _licenses(source)
    return {**network, **licenses, "pedigree": {"ancestors": [{**origin, **licenses}]}}


def _licenses(source: Record) -> dict[str, Any]:
    stated = card.license_of(source)
    return {} if stated is None else {"licenses": [{"license": {"id": stated}}]}


def _artifact(manifest: Record, artifact: Record, folder: Path) -> dict[str, Any]:
    proven = [proof["runtime"] for proof in artifact["proofs"] if proof["status"] == "proven"]
    said = {name: artifact[name] for name in ("format", "precision", "bytes")}
    said |= {"proven-in": ", ".join(proven), "relative-error": artifact["parity"].get("relative_error")}
    said["sqnr-db"] = artifact["parity"].get("sqnr_db")
    found = _model(artifact["path"], properties=_properties(said))
    path, evaluation = folder / artifact["path"], exports.export_of(manifest, artifact)["evaluation"]
    if path.is_dir():
        found["components"] = [
            {"type": "file", "name": file.relative_to(folder).as_posix(), "hashes": _sha256(digest_of(file))}
            for file in files_of(path)
        ]
    else:
        found["hashes"] = _sha256(artifact["sha256"])
    if artifact["accuracy"] and evaluation:
        found["modelCard"] = {"quantitativeAnalysis": _accuracy(manifest, artifact["accuracy"], evaluation)}
    return found


def _accuracy(manifest: Record, scored: Record, evaluation: Record) -> dict[str, Any]:
    """Return the accuracies with their 95 % intervals."""
    photos = f"{scored['images']} photos of {evaluation['source']}"
    metrics = []
    for key, name in card.metrics(manifest):
        low, high = wilson(scored[key], scored["images"])
        bounds = {"lowerBound": f"{low:.4f}", "upperBound": f"{high:.4f}"}
        metric = {"type": f"{name} accuracy", "value": f"{scored[key]:.4f}", "slice": photos}
        metrics.append({**metric, "confidenceInterval": bounds})
    return {"performanceMetrics": metrics}


def _tools(manifest: Record) -> list[dict[str, Any]]:
    """Return kerascnn, Python and the packages of all exports that artifacts are left of."""
    found = {item: None for export in (manifest, *manifest["earlier"]) for item in export["versions"].items()}
    return [
        {"type": "platform", "name": "python", "version": version}
        if name == "python"
        else {"type": "library", "name": name, "version": version, "purl": f"pkg:pypi/{name}@{version}"}
        for name, version in found
    ]


def _runtimes(manifest: Record) -> list[dict[str, Any]]:
    """Return the runtimes that artifacts were proven in."""
    proven = [proof for artifact in manifest["artifacts"] for proof in artifact["proofs"]]
    proven += [manifest["web"]["proof"]] if manifest["web"] else []
    found = {(one["runtime"], one["version"]): None for one in proven if one["status"] == "proven"}
    return [
        {
            "type": "platform",
            "bom-ref": f"runtime:{name}@{version}",
            "name": proofs.TITLES[name],
            "version": version,
            "scope": "optional",
        }
        for name, version in found
    ]


def _model(name: str, **fields: Any) -> dict[str, Any]:
    return {"type": "machine-learning-model", "bom-ref": f"artifact:{name}", "name": name, **fields}


def _dataset(name: str) -> dict[str, Any]:
    return {"type": "dataset", "name": name, "contents": {"url": _DATASETS + name}}


def _sha256(digest: str) -> list[dict[str, str]]:
    return [{"alg": "SHA-256", "content": digest}]


def _properties(values: Record) -> list[dict[str, str]]:
    known = {name: value for name, value in values.items() if value not in (None, "")}
    return [{"name": f"kerascnn:{name}", "value": str(value)} for name, value in known.items()]


def _words(spec: Record) -> str:
    shape = ", ".join("batch" if side is None else str(side) for side in spec["shape"])
    return f"{spec['name']}: {spec['dtype']} [{shape}]"
