"""Forward passes measured on this machine: real figures, kept by version, and clear words where one fails."""

import json

import pytest

from kerascnn.analysis import compare, measuring
from kerascnn.analysis.measuring import Measured, measure


def test_a_network_is_measured_once_and_its_figures_make_sense(monkeypatch):
    first = measure("lenet5", [4, 1])
    assert [row.batch for row in first] == [1, 4]
    assert all(0 < row.milliseconds < 60_000 for row in first)
    assert all(row.memory_mib is None or 0 < row.memory_mib < 2_000 for row in first)

    def forbidden(*_):
        raise AssertionError("measured again")

    monkeypatch.setattr(measuring, "_run", forbidden)
    assert measure("lenet5", [1, 4]) == first
    assert measure("lenet5", [4]) == first[1:]
    (row,) = compare(["lenet5"], measure=True, batch_sizes=[1, 4])
    assert row.measured == first
    assert row.row()["measured"][0]["milliseconds"] == first[0].milliseconds
    monkeypatch.setattr(measuring, "versions", lambda: "another version")
    with pytest.raises(AssertionError, match="measured again"):
        measure("lenet5", [1])


def test_only_the_sizes_that_are_missing_are_run(monkeypatch):
    asked = []

    def run(name, sizes):
        asked.append(list(sizes))
        return [{"batch": n, "milliseconds": 1.0, "memory_mib": None, "joules": None, "day": "today"} for n in sizes]

    monkeypatch.setattr(measuring, "_run", run)
    steps = []
    compare(["lenet5", "vgg11"], measure=True, batch_sizes=[1], step=lambda *told: steps.append(told))
    measure("lenet5", [1, 2, 8])
    assert asked == [[1], [1], [2, 8]]
    assert [told[1:] for told in steps] == [(0, 2), (1, 2)]


def test_a_record_that_cannot_be_read_is_measured_again(monkeypatch):
    row = Measured(1, 1.0, None, None, "today")
    monkeypatch.setattr(measuring, "_run", lambda name, sizes: [vars(row)])
    file = measuring._record("lenet5")
    file.parent.mkdir(parents=True)
    for broken in ("", "[]x", '[{"batch": 1}]', '{"other": 1}', "[1]"):
        file.write_text(broken)
        assert measure("lenet5", [1]) == (row,)
        assert json.loads(file.read_text()) == [vars(row)]


def test_a_pass_that_fails_says_which_and_why(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "abacus")
    with pytest.raises(RuntimeError, match=r"lenet5 could not be measured at batch sizes \[1\]: .*abacus"):
        measure("lenet5", [1])


@pytest.mark.parametrize("sizes", [[], [0], [1, -2], [1.5], ["4"]])
def test_batch_sizes_are_refused_before_any_work(sizes):
    with pytest.raises(ValueError, match="Batch sizes are whole numbers from 1 on"):
        compare(["lenet5"], batch_sizes=sizes)


def test_energy_is_the_counters_difference(tmp_path, monkeypatch):
    """Two packages, of which one passes its limit and begins again; a part of a package is not counted twice."""
    monkeypatch.setattr(measuring, "POWERCAP", tmp_path)
    assert measuring._spent(measuring._energy(), measuring._energy()) is None
    for name, value in (("intel-rapl:0", 1_000_000), ("intel-rapl:1", 9_000_000), ("intel-rapl:0:0", 5)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "energy_uj").write_text(f"{value}\n")
        (tmp_path / name / "max_energy_range_uj").write_text("9999999\n")
    before = measuring._energy()
    (tmp_path / "intel-rapl:0" / "energy_uj").write_text("3500000\n")
    (tmp_path / "intel-rapl:1" / "energy_uj").write_text("500000\n")
    assert measuring._spent(before, measuring._energy()) == 2.5 + 1.5
