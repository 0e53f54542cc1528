"""Entropy coding in NumPy: range asymmetric numeral systems (Duda 2013, arXiv:1311.2540), many side by side.

Symbol number i of a call goes to coder number i ("lane"), so that one array operation codes as many symbols as there
are lanes. The lanes share one stream of 16-bit words. Frequencies are learned while coding, from the symbols that both
sides already know: no tables are stored, so a file cannot lie about them.

`Encoder.code` takes the symbols and returns them; `Decoder.code` finds them. What is built on top is written once and
runs in both directions (see `kerascnn.weights.container.tensors`). Everything is integer arithmetic: any machine
decodes what any other encoded.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Protocol

import numpy as np

PRECISION = 14  # bits of a probability
SCALE = 1 << PRECISION
WORD = 16  # bits that go to the stream at once
LOW = 1 << 24  # states are LOW to LOW * 2**16 - 1: 40 bits
STATE_BYTES = 5
HIDDEN_BYTES = 3  # what the first state of a lane may hold beyond LOW
UNIT = 32  # weight of one observation in a model's counts, so that priors can weigh less


class Damaged(Exception):
    """Coded data that no encoder wrote; the message says what is wrong with it."""


class Model(Protocol):
    """Frequencies of symbols, in one or more rows (contexts), that follow what is coded."""

    def interval(self, rows: np.ndarray, symbols: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return where each symbol's interval starts, and how long it is, on 0 to SCALE."""

    def find(self, rows: np.ndarray, slots: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the symbols in whose intervals the slots lie, and their intervals as `interval` gives them."""

    def learn(self, rows: np.ndarray, symbols: np.ndarray) -> None:
        """Count what was coded."""


class BitModel:
    """Probabilities of single bits, one a context."""

    def __init__(self, contexts: int):
        # Five times the counts of zeros and of ones, plus 0.4 observations of either to begin with (Krichevsky and
        # Trofimov's estimator has 0.5): what the share of zeros is computed from, without a step between.
        self._weights = np.full((2, contexts), 2 * UNIT, np.int64)
        self._update()

    def fade(self, most: int) -> None:
        """Let a context weigh no more than `most` observations, so that it adapts quickly to what follows."""
        counts = (self._weights - 2 * UNIT) // 5
        total = counts.sum(axis=0)
        counts = np.where(total > most * UNIT, counts * most * UNIT // np.maximum(total, 1), counts)
        self._weights = 5 * counts + 2 * UNIT
        self._update()

    def _update(self) -> None:
        zeros, ones = self._weights
        share = (zeros << PRECISION) // (zeros + ones)
        self._zero = np.minimum(np.maximum(share, 1), SCALE - 1)  # np.clip takes twice as long on so few numbers

    def interval(self, rows: np.ndarray, symbols: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return where each symbol's interval starts, and how long it is."""
        return self._interval(self._zero[rows], symbols)

    def find(self, rows: np.ndarray, slots: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the symbols in whose intervals the slots lie, and their intervals."""
        zero = self._zero[rows]
        symbols = (slots >= zero).astype(np.int64)
        return symbols, *self._interval(zero, symbols)

    @staticmethod
    def _interval(zero: np.ndarray, symbols: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        start = zero * symbols
        return start, zero + (SCALE * symbols - 2 * start)

    def learn(self, rows: np.ndarray, symbols: np.ndarray) -> None:
        """Count what was coded."""
        contexts = self._weights.shape[1]
        seen = np.bincount(rows + contexts * symbols, minlength=2 * contexts)
        self._weights += 5 * UNIT * seen.reshape(2, contexts)
        self._update()


class SymbolModel:
    """Probabilities of symbols 0 to n - 1, in rows that may have different n (at most 4,096 in all)."""

    def __init__(self, sizes: Sequence[int], prior: Sequence[np.ndarray] | None = None):
        self._offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        flat = prior if prior is not None else [np.full(size, UNIT // 5, np.int64) for size in sizes]
        self._counts = np.concatenate([*flat, np.zeros(0, np.int64)])
        self._row_starts = SCALE * np.repeat(np.arange(len(sizes)), sizes)
        self._lengths, self._starts = np.zeros_like(self._counts), np.zeros_like(self._counts)
        bounds = list(itertools.pairwise(self._offsets))
        self.rows = [self._counts[a:b] for a, b in bounds]  # the counts of each row: views, as those of _update
        self._parts = [(self._counts[a:b], self._lengths[a:b], self._starts[a:b]) for a, b in bounds if a < b]
        self._update()

    def _update(self) -> None:
        for counts, lengths, starts in self._parts:  # in place: with so few numbers every new array counts
            np.multiply(counts, SCALE - len(counts), out=lengths)
            lengths //= max(int(np.add.reduce(counts)), 1)
            lengths += 1
            lengths[lengths.argmax()] += SCALE - np.add.reduce(lengths)
            np.cumsum(lengths, out=starts)
            starts -= lengths
        self._edges = self._starts + self._row_starts

    def interval(self, rows: np.ndarray, symbols: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return where each symbol's interval starts, and how long it is."""
        places = self._offsets[rows] + symbols
        return self._starts[places], self._lengths[places]

    def find(self, rows: np.ndarray, slots: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the symbols in whose intervals the slots lie, and their intervals."""
        places = self._edges.searchsorted(slots + SCALE * rows, side="right") - 1
        return places - self._offsets[rows], self._starts[places], self._lengths[places]

    def learn(self, rows: np.ndarray, symbols: np.ndarray) -> None:
        """Count what was coded."""
        self._counts += UNIT * np.bincount(self._offsets[rows] + symbols, minlength=len(self._counts))
        self._update()


class _Uniform:
    """Numbers of as many bits as their row says (at most PRECISION), all equally probable."""

    def interval(self, rows: np.ndarray, symbols: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return symbols << (PRECISION - rows), np.left_shift(1, PRECISION - rows)

    def find(self, rows: np.ndarray, slots: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        symbols = slots >> (PRECISION - rows)
        return symbols, *self.interval(rows, symbols)

    def learn(self, rows: np.ndarray, symbols: np.ndarray) -> None:
        pass


UNIFORM = _Uniform()


class Encoder:
    """Collects symbols; `finish` codes them, last to first, so that the decoder meets them first to last."""

    def __init__(self, lanes: int):
        self.lanes = lanes
        self._steps: list[tuple[np.ndarray, np.ndarray]] = []

    def code(self, model: Model, rows: np.ndarray, symbols: np.ndarray | None) -> np.ndarray:
        """Note symbols with the intervals that the model gives them now, and let it learn them."""
        assert symbols is not None
        for i in range(0, len(symbols), self.lanes):
            part, context = symbols[i : i + self.lanes], rows[i : i + self.lanes]
            self._steps.append(model.interval(context, part))
            model.learn(context, part)
        return symbols

    def finish(self, hidden: bytes) -> bytes:
        """Return the lanes' states, then the words. The first states hold HIDDEN_BYTES of `hidden` each."""
        padded = hidden.ljust(self.lanes * HIDDEN_BYTES, b"\0")
        digits = np.frombuffer(padded, np.uint8).reshape(self.lanes, HIDDEN_BYTES).astype(np.int64)
        states = LOW + (digits[:, 0] | digits[:, 1] << 8 | digits[:, 2] << 16)
        words = []
        for start, length in reversed(self._steps):
            x = states[: len(start)]  # a view: the lanes that this step uses
            full = x >= length << (40 - PRECISION)
            words.append((x[full] & 0xFFFF).astype("<u2"))
            x[full] >>= WORD
            x[:] = (x // length << PRECISION) + x % length + start
        tail = np.ascontiguousarray(states.astype("<i8")).view(np.uint8).reshape(-1, 8)[:, :STATE_BYTES]
        return tail.tobytes() + b"".join(part.tobytes() for part in reversed(words))


class Decoder:
    """Reads a stream of `Encoder.finish`.

    Raises:
        Damaged: The stream is too short for the lanes; here, in `code` and in `finish`.
    """

    def __init__(self, lanes: int, stream: bytes):
        self.lanes = lanes
        head = lanes * STATE_BYTES
        if len(stream) < head or (len(stream) - head) % 2:
            raise Damaged(f"{len(stream):,} bytes of coded weights are not a whole number of states and words")
        digits = np.frombuffer(stream, np.uint8, head).reshape(lanes, STATE_BYTES).astype(np.int64)
        self._states = (digits << np.arange(0, 40, 8)).sum(axis=1)
        self._words = np.frombuffer(stream, "<u2", offset=head).astype(np.int64)
        self._position = 0
        if (self._states < LOW).any():
            raise Damaged("the coded weights begin with an impossible state")

    def code(self, model: Model, rows: np.ndarray, symbols: np.ndarray | None = None) -> np.ndarray:
        """Return the next symbols, one for each of `rows`."""
        parts = [np.zeros(0, np.int64)]
        for i in range(0, len(rows), self.lanes):
            context = rows[i : i + self.lanes]
            x = self._states[: len(context)]
            slots = x & (SCALE - 1)
            part, start, length = model.find(context, slots)
            x >>= PRECISION  # x = length * (x >> PRECISION) + slots - start, in place
            x *= length
            x += slots - start
            self._refill(x)
            model.learn(context, part)
            parts.append(part)
        return parts[1] if len(parts) == 2 else np.concatenate(parts)

    def _refill(self, x: np.ndarray) -> None:
        (empty,) = (x < LOW).nonzero()
        end = self._position + len(empty)
        if end > len(self._words):
            raise Damaged("the coded weights end too early")
        x[empty] = (x[empty] << WORD) | self._words[self._position : end]
        self._position = end

    def finish(self) -> bytes:
        """Return what the encoder was given as `hidden`, padded with zeros to HIDDEN_BYTES a lane."""
        if self._position != len(self._words):
            raise Damaged(f"{2 * (len(self._words) - self._position):,} bytes are left over")
        rest = self._states - LOW
        if (rest >> (8 * HIDDEN_BYTES)).any():
            raise Damaged("the coded weights do not end where they began")
        return (rest[:, None] >> np.arange(0, 8 * HIDDEN_BYTES, 8)).astype(np.uint8).tobytes()
