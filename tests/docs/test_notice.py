"""NOTICE names every set of weights on record, under its license, and is current."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from kerascnn.registry import variants

ROOT = Path(__file__).parents[2]

spec = importlib.util.spec_from_file_location("docs_notice", ROOT / "docs" / "notice.py")
writer = importlib.util.module_from_spec(spec)
spec.loader.exec_module(writer)


def test_notice_is_current():
    assert writer.main(["--check"]) == 0, "run python docs/notice.py and look at what changed"


def test_notice_names_every_set_of_weights_once():
    words = (ROOT / "NOTICE").read_text(encoding="utf-8").replace(",", " ").split()
    for row in variants().values():
        for record in row.weights:
            assert words.count(record.full_name) == 1, record.full_name
