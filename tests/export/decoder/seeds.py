"""Inputs that fuzzing starts from: small packed files of each kind, and their scripts uncoded.

python -m tests.export.decoder.seeds FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.export.decoder.samples import samples, uncoded


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, packed in samples().items():
        (folder / f"{name}.kdz").write_bytes(packed)
        (folder / f"{name}-uncoded.kdz").write_bytes(uncoded(packed))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
