"""Add to the folder of an earlier export: which artifacts stay, and what is said of them."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from export import signing
from export.errors import RequestError
from export.files import digest_of, files_of, link
from export.formats.registry import FORMATS
from export.job import Job
from export.manifest import LABELS
from export.publishing import MANIFEST, SIGNATURE
from export.report.progress import Progress
from kerascnn.photos.preprocessing import Preprocessing

_OF_ONE_EXPORT = ("created", "versions", "verification", "calibration", "evaluation")
_OR_ANEW = "Add --replace to start anew (from Python: replace=True), or give another output."


@dataclass(frozen=True)
class Earlier:
    """The artifacts that lie in a folder before an export adds to them.

    Attributes:
        folder: The folder.
        manifest: Its manifest, as it was read.
    """

    folder: Path
    manifest: Mapping[str, Any]

    @cached_property
    def artifacts(self) -> dict[str, Mapping[str, Any]]:
        """What the manifest says of each artifact that is still there, by its path."""
        # Manifests of earlier versions have no proofs.
        rows = {artifact["path"]: {"proofs": [], **artifact} for artifact in self.manifest["artifacts"]}
        return {path: artifact for path, artifact in rows.items() if (self.folder / path).exists()}

    def check_early(self, trained: bool | None, compress: bool, sign: Path | None) -> None:
        """Refuse what can be refused before the model is built.

        Args:
            trained: Whether its weights are trained; None where that is not known.
            compress: Whether it will be compressed.
            sign: The private key to sign with; None: the folder will not be signed.

        Raises:
            RequestError: Its artifacts cannot be added to the folder.
        """
        before = self.manifest["weights"]["trained"]
        reason = self._already_compressed() if compress else None
        if trained is not None and before is not None and trained != before:
            kinds = ("random", "trained") if trained else ("trained", "random")
            reason = "holds artifacts with {} weights, and those of this export would have {} ones.".format(*kinds)
        reason = reason or self._signed_otherwise(sign)
        if reason:
            raise RequestError(f"{self.folder} {reason} {_OR_ANEW}")

    def check(self, job: Job) -> None:
        """Refuse to add the artifacts of a job to the folder.

        Raises:
            RequestError: They are of another network, or take other inputs, a file was changed by hand, or the folder
                is signed and would not be by the same key.
        """
        reason = self._other_network(job) or self._other_inputs(job) or self._signed_otherwise(job.request.sign)
        if reason:
            raise RequestError(f"{self.folder} {reason} {_OR_ANEW}")
        for path, artifact in self.artifacts.items():
            if digest_of(self.folder / path) != artifact["sha256"]:
                raise RequestError(
                    f"{self.folder / path} is not what the manifest beside it says: it was changed since it was "
                    f"exported. Move it away to keep it. {_OR_ANEW}"
                )

    def _signed_otherwise(self, sign: Path | None) -> str | None:
        """Say why the signature of the folder cannot be replaced.

        Without a key it would be wrong afterwards, and a signed release would become an unsigned one unnoticed. With a
        key, what stays is vouched for again: only if the same key has signed it as it is.
        """
        if not (self.folder / SIGNATURE).exists():
            return None
        if sign is None:
            return f"is signed, and {SIGNATURE} would no longer hold. Add --sign KEY.pem (from Python: sign=)."
        wrong = signing.problem_of_signer(self.folder, sign)
        return f"is signed, and what stays would be signed again, but {SIGNATURE} is {wrong}." if wrong else None

    def _already_compressed(self) -> str:
        compressed = self.manifest["compression"]
        if compressed is None:
            return "holds artifacts of the network as it is, and a compressed network is another one."
        return (
            "holds a compressed network, and compressing again makes another one. To add to it, export its own file: "
            f"--model {self.folder / compressed['path']}."
        )

    def _other_network(self, job: Job) -> str | None:
        if job.request.compression is not None:
            return self._already_compressed()
        if self.manifest["model"]["sha256"] == job.sha256:
            return None
        origin, weights = job.loaded.origin, self.manifest["weights"]
        theirs = _described(self.manifest["model"]["name"], weights["trained"], weights["source"])
        ours = _described(origin.name, origin.trained, origin.weights)
        if self.manifest["compression"]:
            theirs += ", compressed"
        if theirs == ours:
            return f"holds artifacts of another {ours}: its layers or weights differ from those of this one."
        return f"holds artifacts of {theirs}, and this export is of {ours}."

    def _other_inputs(self, job: Job) -> str | None:
        included, loaded = bool((self.manifest["preprocessing"] or {}).get("included")), job.loaded
        if included != (job.included is not None):
            theirs = "with the preprocessing inside" if included else "without preprocessing inside"
            return f"holds artifacts {theirs}, and this export is of the other kind."
        if self.preprocessing and loaded.preprocessing and self.preprocessing != loaded.preprocessing:
            return "holds artifacts for photos that are prepared otherwise."
        if self.labels and loaded.labels and self.labels != loaded.labels:
            return "holds artifacts with other labels."
        return None

    @cached_property
    def preprocessing(self) -> Preprocessing | None:
        """How a photo becomes the input of the network; None where that is not known."""
        known = dict(self.manifest["preprocessing"] or {})
        known.pop("included", None)
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in known.items()
        }
        return Preprocessing(**values) if values else None

    @cached_property
    def labels(self) -> tuple[str, ...] | None:
        """The class names in the folder."""
        path = self.folder / LABELS
        if self.manifest["labels"] is None or not path.is_file():
            return None
        return tuple(path.read_text(encoding="utf-8").splitlines())

    def completed(self, job: Job) -> Job:
        """Return the job with labels and preprocessing from the folder, where they were not given again."""
        loaded = job.loaded
        labels, preprocessing = loaded.labels or self.labels, loaded.preprocessing or self.preprocessing
        return replace(job, loaded=replace(loaded, labels=labels, preprocessing=preprocessing))

    def add(self, manifest: dict[str, Any], folder: Path, progress: Progress) -> dict[str, Any]:
        """Put the artifacts that stay into the folder of a new export, and say which do.

        Args:
            manifest: Of the new export. Its artifacts replace those of the same name.
            folder: Where it is written.
            progress: Told of what stays and of what is replaced.

        Returns:
            The manifest of all artifacts.
        """
        paths = {artifact["path"] for artifact in manifest["artifacts"]}
        kept = [path for path in self.artifacts if path not in paths]
        replaced = sorted(paths & self.artifacts.keys())
        for verb, names in (("replaces", replaced), ("keeps", kept)):
            if names:
                progress.note(f"{manifest['model']['name']}: {verb} in {self.folder}: {', '.join(names)}")
        self._carry_over(kept, folder)
        return self._joined(manifest, [self.artifacts[path] for path in kept])

    def _carry_over(self, kept: Collection[str], folder: Path) -> None:
        packed = (self.artifacts[path]["packed"] for path in kept)
        names = [*kept, *(copy["path"] for copy in packed if copy)]
        if self.manifest["compression"]:
            names.append(self.manifest["compression"]["path"])
        for file in (file for name in names for file in files_of(self.folder / name) if file.is_file()):
            link(file, folder / file.relative_to(self.folder))

    def _joined(self, manifest: dict[str, Any], kept: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        before, times = self.manifest, {artifact["created"] for artifact in kept}
        exports = [*before["earlier"], {name: before[name] for name in _OF_ONE_EXPORT}]
        return {
            **manifest,
            "weights": before["weights"] if before["compression"] else manifest["weights"],
            "artifacts": sorted([*kept, *manifest["artifacts"]], key=_place),
            "earlier": [export for export in exports if export["created"] in times],
            "compression": before["compression"],
        }


def find(folder: Path) -> Earlier | None:
    """Read the manifest of a folder; None where nothing was exported to it.

    Raises:
        RequestError: It does not say which network it is of.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    if "sha256" not in manifest["model"]:
        raise RequestError(
            f"{folder} was exported by an earlier version of kerascnn, which does not say of which network. {_OR_ANEW}"
        )
    return Earlier(folder, manifest)


def _described(name: str, trained: bool | None, weights: Mapping[str, Any] | None) -> str:
    """Say which network it is, and which weights it has."""
    if weights is None:
        return f"{name} with random weights" if trained is False else name
    return f"{name} with the weights {weights.get('name') or weights.get('file')} ({weights['sha256'][:8]}…)"


def _place(artifact: Mapping[str, Any]) -> tuple[int, int, str]:
    """Order artifacts as one export would have written them."""
    names = list(FORMATS)
    precisions = [precision.name for precision in FORMATS[artifact["format"]].precisions]
    return names.index(artifact["format"]), precisions.index(artifact["precision"]), artifact["path"]
