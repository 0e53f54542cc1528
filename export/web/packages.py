"""The JavaScript runtimes of the page: from npm at the time of the export, or from a folder that the user names.

They lie in a folder as npm lays out node_modules: in the cache, in the folder that a user names and in the page.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from export.errors import ExportError, RequestError

_SECONDS = 300


@dataclass(frozen=True)
class Package:
    """One package of npm.

    Attributes:
        name: Its name.
        version: The one that is fetched.
        files: What the page takes of it.
    """

    name: str
    version: str
    files: tuple[str, ...]

    @property
    def archive(self) -> str:
        """What npm calls the archive."""
        return f"{self.name.removeprefix('@').replace('/', '-')}-{self.version}.tgz"

    def found(self, folder: Path) -> str | None:
        """Return the version that lies in a folder; None where there is none, or something is missing."""
        root = folder / self.name
        try:
            version = json.loads((root / "package.json").read_text(encoding="utf-8"))["version"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return str(version) if all((root / file).is_file() for file in self.files) else None


# Browsers without relaxed SIMD take the second pair.
_LITERT = tuple(f"wasm/litert_wasm{kind}_internal.{suffix}" for kind in ("", "_compat") for suffix in ("js", "wasm"))
PACKAGES = {
    "tflite": (
        Package("@litertjs/core", "2.5.3", ("package.json", "dist/index.js", *_LITERT)),
        Package("@litertjs/wasm-utils", "2.5.3", ("package.json", "dist/index.js")),
    ),
    "onnx": (
        Package(
            "onnxruntime-web",
            "1.30.0",
            (
                "package.json",
                "dist/ort.wasm.min.mjs",
                "dist/ort-wasm-simd-threaded.mjs",
                "dist/ort-wasm-simd-threaded.wasm",
            ),
        ),
    ),
}


def packages_for(formats: Collection[str]) -> list[Package]:
    """Return what artifacts of these formats run in."""
    return [package for format, packages in PACKAGES.items() if format in formats for package in packages]


def provide(packages: Sequence[Package], given: Path | None, step: Callable[[str], None]) -> Path:
    """Return a folder that holds the packages, and fetch them into the cache where that is needed.

    Args:
        packages: What is needed.
        given: The folder that the user names; None: the cache.
        step: Told of a download.

    Raises:
        RequestError: The folder lacks something.
        ExportError: They cannot be fetched.
    """
    if given is None:
        from kerascnn.weights import cache_folder

        given = cache_folder().parent / "web"
        missing = [package for package in packages if package.found(given) != package.version]
        if missing:
            step(f"fetching {', '.join(f'{package.name} {package.version}' for package in missing)} by npm")
            fetch(missing, given)
    check_folder(packages, given)
    return given


def check_folder(packages: Sequence[Package], folder: Path) -> None:
    """Refuse a folder that lacks something.

    Raises:
        RequestError: It does.
    """
    for package in packages:
        if package.found(folder) is None:
            raise RequestError(
                f"{folder} does not hold {package.name} as npm installs it: {', '.join(package.files)} in "
                f"{folder / package.name}. Name the node_modules folder of `npm install --ignore-scripts "
                f"{_specifications(packages)}`."
            )


def copy(packages: Sequence[Package], source: Path, target: Path) -> dict[str, str]:
    """Copy what the page takes of packages.

    Returns:
        Their versions.
    """
    for package in packages:
        for file in package.files:
            path = target / package.name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / package.name / file, path)
    return {package.name: str(package.found(target)) for package in packages}


def _specifications(packages: Sequence[Package]) -> str:
    return " ".join(f"{package.name}@{package.version}" for package in packages)


def fetch(packages: Sequence[Package], cache: Path) -> None:
    """Let npm fetch archives, and unpack what the page takes of them into a folder.

    Raises:
        ExportError: There is no npm, or it cannot fetch them.
    """
    wanted = _specifications(packages)
    instead = (
        f"Where there is a network, run `npm install --ignore-scripts {wanted}`, and give its node_modules folder as "
        "--web-runtimes (from Python: web=)."
    )
    npm = shutil.which("npm")
    if npm is None:
        raise ExportError(
            f"The runtimes of the page come from npm, which is not installed (it comes with Node.js). {instead}"
        )
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".partial-", dir=cache) as folder:
        # No script of a package is run, here or later.
        command = [npm, "pack", "--ignore-scripts", "--fetch-retries=1", "--fetch-timeout=30000", *wanted.split()]
        try:
            ended = subprocess.run(
                command, cwd=folder, capture_output=True, text=True, timeout=_SECONDS, stdin=subprocess.DEVNULL
            )
        except subprocess.TimeoutExpired:
            raise ExportError(f"npm did not fetch {wanted} within {_SECONDS} seconds. {instead}") from None
        if ended.returncode:
            said = [line.removeprefix("npm error").strip() for line in ended.stderr.splitlines() if "npm error" in line]
            reason = next((line for line in said if line and not line.startswith("code ")), "no reason given")
            raise ExportError(f"npm could not fetch {wanted}: {reason[:300].rstrip('.')}. {instead}")
        for package in packages:
            _unpack(package, Path(folder), cache)


def _unpack(package: Package, folder: Path, cache: Path) -> None:
    fresh = folder / package.name
    try:
        with tarfile.open(folder / package.archive) as archive:
            for file in package.files:
                content = archive.extractfile(f"package/{file}")
                assert content is not None
                (fresh / file).parent.mkdir(parents=True, exist_ok=True)
                (fresh / file).write_bytes(content.read())
    except (OSError, KeyError, AssertionError, tarfile.TarError) as error:
        raise ExportError(
            f"What npm fetched of {package.name} {package.version} is not as expected: {error}."
        ) from error
    target = cache / package.name
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(target, ignore_errors=True)
    os.replace(fresh, target)
