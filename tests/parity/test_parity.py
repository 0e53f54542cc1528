"""The parity table as tests; they need the extra `parity`, and minutes: `pytest -m parity`."""

from __future__ import annotations

from pathlib import Path

import pytest

from kerascnn import list_models

from .caffe import missing
from .references import REFERENCES, Reference

pytestmark = pytest.mark.parity


@pytest.mark.parametrize(
    "reference", [reference for reference in REFERENCES if reference.variant in list_models()], ids=lambda r: r.key
)
def test_same_network(reference: Reference, tmp_path: Path) -> None:
    """Parameters, multiply-accumulates and outputs are the reference's, from the same weights."""
    pytest.importorskip("torch")
    if reference.package == "caffe" and (reason := missing(reference.name)):
        pytest.skip(reason)
    from .comparing import compare

    row = compare(reference, tmp_path)
    assert row.parameters == row.their_parameters
    assert row.macs == row.their_macs
    assert row.error <= 1e-4
