"""The users of a load test. `python -m serving loadtest` starts Locust with this file.

Closed loop: each user sends its next request when the last one is answered, so a slow server is asked less. Open loop:
requests are sent at random times, whatever the server does, and latency counts from those times. Every answer is
compared with the one that the server gave before the test.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import time
from pathlib import Path

import gevent
from locust import FastHttpUser, events, task

_PLAN = json.loads(Path(os.environ["SERVING_LOAD_PLAN"]).read_text(encoding="utf-8"))
_MOST_IN_FLIGHT = 2000  # beyond this the test would measure the machine that asks
# Seconds since the start, latency in seconds, status, outcome, photos.
_samples: list[tuple[float, float, int, str, int]] = []
_begin = time.perf_counter()


class Visitor(FastHttpUser):
    """A user who sends photos."""

    connection_timeout = network_timeout = _PLAN["timeout"]
    max_retries = 0
    concurrency = _MOST_IN_FLIGHT if _PLAN["rate"] else 1
    photos = itertools.cycle(_PLAN["photos"])  # of all users together
    sizes = itertools.cycle(_PLAN["batches"])  # of all requests, in turn

    @task
    def visit(self) -> None:
        """Send one request in the closed loop; in the open loop, send all of them."""
        if not _PLAN["rate"]:
            self._send(time.perf_counter())
            return
        draw = random.Random(_PLAN["seed"])
        due, end = time.perf_counter(), _begin + _PLAN["seconds"]
        flying: set[gevent.Greenlet] = set()
        while (due := due + draw.expovariate(_PLAN["rate"])) < end:
            gevent.sleep(max(0.0, due - time.perf_counter()))
            if len(flying) >= _MOST_IN_FLIGHT:
                _samples.append((due - _begin, 0.0, 0, "not sent", next(self.sizes)))
                continue
            started = gevent.spawn(self._send, due)
            flying.add(started)
            started.link(flying.discard)
        gevent.joinall(list(flying), timeout=_PLAN["timeout"])
        self.environment.runner.quit()

    def _send(self, due: float) -> None:
        size = next(self.sizes)
        photos = [next(self.photos) for _ in range(size)]
        with self.client.post(
            _PLAN["path"],
            data=_PLAN["body"].replace("PHOTOS", ", ".join(photo["instance"] for photo in photos)),
            headers={"Content-Type": "application/json", **_PLAN["headers"]},
            catch_response=True,
            name="predict",
        ) as reply:
            expected = [photo["expected"] for photo in photos]
            outcome = _judge(reply.status_code, reply.text if reply.status_code == 200 else "", expected)
            if outcome == "right":
                reply.success()
            else:
                reply.failure(outcome)
        _samples.append((due - _begin, time.perf_counter() - due, reply.status_code, outcome, size))


def _judge(status: int, text: str, expected: list[int]) -> str:
    if status in (429, 503):
        return "refused"
    if status != 200:
        return "failed"
    try:
        best = [prediction["top_ids"][0] for prediction in json.loads(text)["predictions"]]
    except (ValueError, KeyError, IndexError, TypeError):
        return "wrong"
    return "right" if best == expected else "wrong"


@events.spawning_complete.add_listener
def _start_counting(user_count: int, **_: object) -> None:
    global _begin
    _samples.clear()
    _begin = time.perf_counter()


@events.quitting.add_listener
def _write(**_: object) -> None:
    Path(_PLAN["samples"]).write_text(json.dumps(_samples), encoding="utf-8")
