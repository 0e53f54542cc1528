"""Compose and Kubernetes files against the schemas of their specifications, if the packages with them are installed.

check-jsonschema brings the schema of the Compose Specification, kubernetes-validate those of Kubernetes. Only the tests
need them; without them the other checks still hold.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import resources
from typing import Any

from serving.findings import Finding

KUBERNETES = "1.32"
# What KServe's InferenceService (v1beta1) has beside the fields of a pod and of a container.
_PREDICTOR = {
    "minReplicas": int,
    "maxReplicas": int,
    "scaleMetric": str,
    "scaleTarget": int,
    "canaryTrafficPercent": int,
    "containerConcurrency": int,
    "timeout": int,
    "model": dict,
}
_MODEL = {"modelFormat": dict, "protocolVersion": str, "runtime": str, "runtimeVersion": str, "storageUri": str}
_MEND = "Fix it, or write it again: python -m serving init."


def check(parsed: Mapping[str, list[object]]) -> Iterator[Finding]:
    """Find what does not fit its schema, in {path: parsed documents}."""
    for name, documents in parsed.items():
        for document in documents:
            if name.startswith("compose"):
                yield from _check_compose(name, document)
            elif name.startswith(("kubernetes/base/", "kubernetes/kserve/inference-service")):
                yield from check_kubernetes(name, document)


def _check_compose(name: str, document: object) -> Iterator[Finding]:
    if importlib.util.find_spec("check_jsonschema") is None:
        return
    import jsonschema

    for error in _compose_validator().iter_errors(document):
        field = ".".join(map(str, error.absolute_path)) or "the whole file"
        yield Finding("error", name, f"{field}: {jsonschema.exceptions.best_match([error]).message}.", _MEND)


def check_kubernetes(name: str, document: object) -> Iterator[Finding]:
    """Find what is wrong with a complete Kubernetes object.

    An InferenceService of KServe is checked as the pod that it describes; other extensions have no schema here.
    """
    if isinstance(document, dict) and document.get("kind") == "InferenceService":
        yield from _check_inference_service(name, document)
        return
    if importlib.util.find_spec("kubernetes_validate") is None:
        return
    import kubernetes_validate

    try:
        kubernetes_validate.validate(document, KUBERNETES, strict=True)
    except kubernetes_validate.ValidationError as error:
        field = ".".join(map(str, error.path)) or "the whole object"
        yield Finding("error", name, f"{field}: {error.message}.", _MEND)
    except kubernetes_validate.SchemaNotFoundError:
        return
    except kubernetes_validate.InvalidSchemaError as error:
        yield Finding("error", name, f"{error}.", _MEND)


def _check_inference_service(name: str, document: dict[str, Any]) -> Iterator[Finding]:
    if document.get("apiVersion") != "serving.kserve.io/v1beta1":
        yield Finding(
            "error", name, f"apiVersion is {document.get('apiVersion')!r}.", "Give serving.kserve.io/v1beta1."
        )
    spec = document.get("spec")
    predictor = spec.get("predictor") if isinstance(spec, dict) else None
    model = predictor.get("model") if isinstance(predictor, dict) else None
    if not (isinstance(predictor, dict) and isinstance(model, dict)):
        yield Finding("error", name, "It has no spec.predictor.model.", _MEND)
        return
    for fields, values in ((_PREDICTOR, predictor), (_MODEL, model)):
        for field, kind in fields.items():
            if field in values and type(values[field]) is not kind:
                yield Finding("error", name, f"{field}: {values[field]!r} is not of the type {kind.__name__}.", _MEND)
    container = {"name": "kserve-container"} | {key: value for key, value in model.items() if key not in _MODEL}
    pod = {key: value for key, value in predictor.items() if key not in _PREDICTOR} | {"containers": [container]}
    yield from check_kubernetes(
        name, {"apiVersion": "v1", "kind": "Pod", "metadata": document.get("metadata"), "spec": pod}
    )


@cache
def _compose_validator() -> Any:
    import jsonschema

    path = resources.files("check_jsonschema").joinpath("builtin_schemas/vendor/compose-spec.json")
    schema = json.loads(path.read_text(encoding="utf-8"))
    return jsonschema.validators.validator_for(schema)(schema)
