"""Check models and configuration before they are deployed.

A server says little about what it does not accept: it passes over a folder with a wrong name, retries for minutes a
model that does not load, and answers a batch that was padded wrongly. Everything here is found without a server.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kerascnn.console import quiet
from serving.artifacts import find_versions, is_name, read_model
from serving.configuration.triton import checking
from serving.contract import BATCH_SIZES
from serving.errors import RequestError, ServingError
from serving.findings import Finding
from serving.operations import folders


@dataclass(frozen=True)
class Examined:
    """A version of a model that could be loaded."""

    model: str
    version: int
    signatures: tuple[str, ...]
    warmup_requests: int
    weights: int  # bytes
    memory: int  # bytes, with the largest warmed-up batch


def examine(folder: Path, config: Path | None = None) -> tuple[list[Examined], list[Finding]]:
    """Check every model in `folder`, and the configuration in `config` if it is given; of Triton's, that alone.

    Returns:
        The versions that could be loaded, and what was found, errors first.

    Raises:
        RequestError: The folder does not exist, or holds nothing to check.
    """
    if config is not None and checking.is_triton(config):
        return [], checking.validate(config)  # it holds its models itself
    if not folder.is_dir():
        raise RequestError(f"{folder} is not a folder. Give the one that export wrote to (--output).")
    examined: list[Examined] = []
    findings: list[Finding] = []
    models = []
    for name, base_path in sorted(folders.find_intended_base_paths(folder).items()):
        findings += folders.check(name, base_path)
        if not find_versions(base_path) or not is_name(name):
            continue
        try:
            model = read_model(name, base_path)
        except ServingError as error:
            findings.append(Finding("error", str(base_path), str(error), "Until then the model cannot be checked."))
            continue
        models.append(model)
        findings += folders.check_manifest(model)
        for version in model.versions:
            row, problems = _examine_version(model.name, version, model.path(version))
            examined += [row] if row else []
            findings += problems
    if not examined and not findings:
        raise RequestError(
            f"There is no model in {folder}. Export one with: python -m export --model squeezenet --saved-model "
            f"--output {folder}."
        )
    if config is not None:
        from serving.configuration.checking import validate

        findings += validate(config, models)
    findings.sort(key=lambda finding: finding.severity != "error")
    return examined, findings


def _examine_version(name: str, version: int, folder: Path) -> tuple[Examined | None, list[Finding]]:
    """Load one version and try it; None if it does not load."""
    from serving.operations import trial
    from serving.operations.memory import estimate_memory

    with quiet():
        loaded, findings = trial.load(folder)
        if loaded is None:
            return None, findings
        with trial.trying(folder) as tried:
            findings += trial.check_signatures(folder, loaded.module)
            requests, problems = trial.check_warmup(folder, loaded.module)
            memory = estimate_memory(folder, loaded.graphs)
            problems += tried()
    signatures = tuple(sorted(loaded.module.signatures))
    row = Examined(name, version, signatures, requests, memory.weights, memory.total(max(BATCH_SIZES)))
    return row, [*findings, *problems]
