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
_MEND = "Fix it, or write it again: python -m serving init."


def check(parsed: Mapping[str, list[object]]) -> Iterator[Finding]:
    """Find what does not fit its schema, in {path: parsed documents}."""
    for name, documents in parsed.items():
        for document in documents:
            if name.startswith("compose"):
                yield from _check_compose(name, document)
            elif name.startswith("kubernetes/base/"):
                yield from check_kubernetes(name, document)


def _check_compose(name: str, document: object) -> Iterator[Finding]:
    if importlib.util.find_spec("check_jsonschema") is None:
        return
    import jsonschema

    for error in _compose_validator().iter_errors(document):
        field = ".".join(map(str, error.absolute_path)) or "the whole file"
        yield Finding("error", name, f"{field}: {jsonschema.exceptions.best_match([error]).message}.", _MEND)


def check_kubernetes(name: str, document: object) -> Iterator[Finding]:
    """Find what is wrong with a complete Kubernetes object. Kinds of extensions, which have no schema here, pass."""
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


@cache
def _compose_validator() -> Any:
    import jsonschema

    path = resources.files("check_jsonschema").joinpath("builtin_schemas/vendor/compose-spec.json")
    schema = json.loads(path.read_text(encoding="utf-8"))
    return jsonschema.validators.validator_for(schema)(schema)
