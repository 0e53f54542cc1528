"""The time that a compression still takes."""

import pytest

pytest.importorskip("tensorflow")

from export.compression import pace
from kerascnn import create_model


def test_the_time_left_follows_the_work_that_is_done() -> None:
    said, now = [], [0.0]
    paced = pace.Pace(said.append, {"first": [1.0, 1.0], "second": [5.0, 5.0], "third": [8.0]}, lambda: now[0])

    def take(name: str, seconds: list[float]) -> None:
        step = paced.part(name)
        for each in seconds:
            step(name)
            now[0] += each

    take("first", [10.0, 10.0])
    take("second", [50.0])  # one step of two is enough
    take("third", [80.0, 10.0])  # and here one more is needed
    assert said == [
        "first",  # nothing is known yet
        "first, about 3 min left",
        "second, about 3 min left",
        "third, about 80 s left",
        "third, about 5 s left",
    ]


def test_a_plan_has_each_step_of_each_part() -> None:
    model = create_model("lenet5", input_shape=(32, 32, 1), classes=4)
    work = pace.plan(model, 60, measured=False, to_size=True, tuning=25)
    assert {name: len(steps) for name, steps in work.items()} == {
        "measuring": 2 * 3,
        "attempts": pace.ATTEMPTS,
        "order": 2 * 5,
        "tuning": 3,
    }
    assert all(step > 0 for steps in work.values() for step in steps)
    known = pace.plan(model, 60, measured=True, to_size=False, tuning=0)
    assert (len(known["measuring"]), len(known["order"]), known["tuning"]) == (0, 5, [])
