"""Write NOTICE: the licenses of the code, of what it writes into pages, and of every set of weights on record.

python docs/notice.py            writes NOTICE
python docs/notice.py --check    writes nothing; exit code 1 where NOTICE is not current
"""

from __future__ import annotations

import argparse
import re
import sys
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # the records of this tree

from kerascnn.registry import WeightsRecord, variants  # noqa: E402

HEAD = """\
kerascnn
Copyright 2026 The kerascnn authors

Licensed under the Apache License, Version 2.0; see LICENSE.


Code in written pages
=====================

HTML reports contain Vega, Vega-Lite, Vega-Embed and parts of D3. Their licenses are in every report, and in
kerascnn/analysis/pages/templates/licences.txt.


Weights in the package
======================

Trained by the kerascnn authors and licensed as kerascnn:
{packaged}


Weights that kerascnn can fetch
===============================

These files are not part of the package. kerascnn fetches one when a call names it, and its publisher's license
applies. Where it says "not stated", the publisher states no license for the weights: ask them before you pass the
file on. The list is written by docs/notice.py from the records that `weights=` reads.
"""


def notice() -> str:
    """The text of NOTICE."""
    records = [record for row in variants().values() for record in row.weights]
    parts = [HEAD.format(packaged=names(record for record in records if record.packaged))]
    by_publisher: dict[tuple[str, str], list[WeightsRecord]] = {}
    for record in records:
        if not record.packaged:
            by_publisher.setdefault((record.licence, publisher(record)), []).append(record)
    for licence, name in sorted(by_publisher):
        parts.append(f"{licence}, from {name}:\n{names(by_publisher[licence, name])}\n")
    return "\n".join(parts)


def publisher(record: WeightsRecord) -> str:
    """Who published the weights: their source without the part that names a single file."""
    return re.sub(r"(, \w+_Weights\.\w+|, [\w.]+_in1k\w*|, [\w.]+\.in1k)$", "", record.source)


def names(records: Iterable[WeightsRecord]) -> str:
    """The full names of the weights as an indented paragraph."""
    text = ", ".join(sorted(record.full_name for record in records))
    return textwrap.fill(text, 116, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write or check NOTICE."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; say whether NOTICE is current")
    given = parser.parse_args(arguments)
    path = ROOT / "NOTICE"
    if path.is_file() and path.read_text(encoding="utf-8") == notice():
        return 0
    if not given.check:
        path.write_text(notice(), encoding="utf-8")
    print(f"NOTICE {'is not current: run python docs/notice.py' if given.check else 'written'}")
    return int(given.check)


if __name__ == "__main__":
    raise SystemExit(main())
