"""What the command prints: a table, and what must be said of it."""

from __future__ import annotations

from kerascnn.analysis.printing import console, draw, table
from kerascnn.evaluating.results import Evaluation, Published, Reached, Share
from kerascnn.statistics import BINS


def show(evaluation: Evaluation) -> None:
    """Print a line for each model, how the others differ from the first, and the notes."""
    accuracies = table("model|bytes|top-1|95 %|top-5|95 %|ECE", 6)
    for one in evaluation.reached:
        error = f"{100 * one.calibration_error:.2f}"
        accuracies.add_row(one.name, f"{one.bytes:,}", *_share(one.top1), *_share(one.top5), error)
    draw(accuracies)
    if others := evaluation.reached[1:]:
        differences = table("model|difference|95 %|better|worse|p", 5)
        for one in others:
            differences.add_row(one.name, *_difference(one))
        draw(differences)
    screen = console()
    for note in notes(evaluation):
        screen.print(note, soft_wrap=not screen.is_terminal)


def notes(evaluation: Evaluation) -> list[str]:
    """Say what the figures are, and what limits them."""
    first = evaluation.reached[0]
    lines = [
        f"{_count(first.photos, 'photo')} of {_count(evaluation.shown, 'class', 'es')} in {evaluation.data}; in "
        f"percent, with 95 % intervals (Wilson). ECE: the expected calibration error, in {BINS} ranges of confidence."
    ]
    if evaluation.shown < evaluation.classes:
        lines.append(
            f"The models tell {evaluation.classes:,} classes apart, and the photos are of {evaluation.shown:,}."
        )
    if evaluation.left_out:
        lost = _count(len(evaluation.left_out), "photo")
        lines.append(f"Left out, neither right nor wrong: {lost} that cannot be read.")
    if len(evaluation.reached) > 1:
        lines.append(
            f"Difference: of top-1 to {first.name}, on the same photos. Better: photos that only this model gets; "
            f"worse: those that only {first.name} gets; p: McNemar's exact test of both."
        )
    lines += [
        f"{one.name}: {one.not_finite:,} answers are not finite numbers, and count as wrong."
        for one in evaluation.reached
        if one.not_finite
    ]
    return lines + _published(evaluation)


def _published(evaluation: Evaluation) -> list[str]:
    lines: dict[tuple[float, str], str] = {}
    for one in evaluation.reached:
        if one.published is not None:
            key = (one.published.top1, one.published.source)
            lines.setdefault(key, _of_published(one, one.published))
    return list(lines.values())


def _of_published(one: Reached, published: Published) -> str:
    low, high = (100 * end for end in (published.difference.low, published.difference.high))
    return (
        f"Published top-1: {100 * published.top1:.2f} ({published.source}). {one.name} differs by "
        f"{100 * published.difference.share:+.2f} ({low:+.2f} to {high:+.2f}), on photos that may be others."
    )


def _count(number: int, noun: str, plural: str = "s") -> str:
    return f"{number:,} {noun}{'' if number == 1 else plural}"


def _share(share: Share) -> tuple[str, str]:
    return f"{100 * share.share:.2f}", f"{100 * share.low:.2f}-{100 * share.high:.2f}"


def _difference(one: Reached) -> tuple[str, ...]:
    found = one.difference
    assert found is not None
    ends = f"{100 * found.low:+.2f} to {100 * found.high:+.2f}"
    return f"{100 * found.difference:+.2f}", ends, f"{found.better:,}", f"{found.worse:,}", f"{found.p:.3g}"
