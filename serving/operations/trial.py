"""Load a version of a model as a server would, call it, and say what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serving import contract
from serving.contract import hostile
from serving.contract.operators import SERVER, problems, read_saved_model
from serving.contract.warmup import MOST, answer, read_warmup
from serving.findings import Finding

if TYPE_CHECKING:
    from tensorflow.core.framework.graph_pb2 import GraphDef

_AGAIN = "Export the model again, or copy the version again if it was copied."
_ENDS = "A server ends at its start, without serving the other models."
# Types that a server cannot put into JSON.
_NOT_JSON = ("float16", "bfloat16", "uint16")


@dataclass(frozen=True)
class Loaded:
    """A loaded SavedModel: the object with its signatures, and the graphs that it was made from."""

    module: Any
    graphs: list[GraphDef]


def load(folder: Path) -> tuple[Loaded | None, list[Finding]]:
    """Load the version in `folder`.

    Returns:
        The version, None if it does not load; and what is wrong with it, operators that a server lacks included.
    """
    import tensorflow as tf

    where = str(folder)
    try:
        graphs = [meta_graph.graph_def for meta_graph in read_saved_model(folder).meta_graphs]
    except (OSError, ValueError) as error:
        return None, [Finding("error", where, f"It cannot be read: {error}", _AGAIN)]
    mend = f"Export it with operators that TensorFlow {SERVER} knows, or serve it with a newer image."
    findings = [Finding("error", where, problem, mend) for problem in problems(folder)]
    try:
        module = tf.saved_model.load(str(folder))
    except Exception as error:  # whatever TensorFlow raises; a server would not load it either
        return None, [*findings, Finding("error", where, f"It does not load: {_first_line(error)} {_ENDS}", _AGAIN)]
    return Loaded(module, graphs), findings


def check_signatures(folder: Path, module: Any) -> Iterator[Finding]:
    """Find what is wrong or missing among the signatures and the labels of a loaded version."""
    where, signatures = str(folder), module.signatures
    if contract.DEFAULT_SIGNATURE not in signatures:
        what = f"There is no signature {contract.DEFAULT_SIGNATURE!r}, which requests without a name call."
        names = ", ".join(sorted(signatures)) or "none"
        yield Finding("error", where, f"{what} Found: {names}.", "Export it with python -m export --saved-model.")
    if contract.BYTES_SIGNATURE not in signatures:
        what = f"There is no {contract.BYTES_SIGNATURE}: clients must prepare photos themselves and send large floats."
        mend = "Export it with --preprocessing NAME, which says how its photos are prepared."
        yield Finding("warning", where, what, mend)
    for name, function in sorted(signatures.items()):
        for output, spec in sorted(function.structured_outputs.items()):
            here = f"{where}, {name}, output {output}"
            if spec.dtype.name in _NOT_JSON:
                what = f"It is {spec.dtype.name}, which the HTTP endpoint cannot put into JSON."
                yield Finding("error", here, what, "Cast it to float32 in the graph.")
            elif spec.dtype.name == "string" and output.endswith("_bytes"):
                what = "A name that ends in _bytes makes the HTTP endpoint encode the text in base64."
                yield Finding("warning", here, what, "Give it another name.")
    yield from _check_labels(folder, signatures)


def _check_labels(folder: Path, signatures: Mapping[str, Any]) -> Iterator[Finding]:
    path = folder / contract.EXTRA / contract.LABELS_FILE
    if not path.is_file():
        if contract.BYTES_SIGNATURE in signatures:
            what = "There are no labels: answers name classes by number alone."
            yield Finding("warning", str(folder), what, "Export it with --labels FILE.")
        return
    try:
        labels = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        yield Finding("error", str(path), f"It cannot be read: {error}", _AGAIN)
        return
    classes = _classes(signatures.get(contract.DEFAULT_SIGNATURE))
    if classes is not None and len(labels) != classes:
        what = f"There are {len(labels)} labels for {classes} classes."
        yield Finding("error", str(path), what, "Export it with a file of as many labels, one a line.")
    if "" in labels:
        what = f"Line {labels.index('') + 1} is empty; an empty label stands for a photo that could not be read."
        yield Finding("error", str(path), what, "Export it with a name for every class.")


def _classes(function: Any) -> int | None:
    if function is None or len(function.structured_outputs) != 1:
        return None
    (spec,) = function.structured_outputs.values()
    return spec.shape[-1] if spec.shape.rank == 2 else None


def check_warmup(folder: Path, module: Any) -> tuple[int, list[Finding]]:
    """Answer the warm-up requests of a loaded version.

    A server answers all of them before it serves the version, and does not serve it if one fails. Requests that differ
    in their batch size alone are answered once here, with the smallest.

    Returns:
        The number of requests, and what is wrong with them.
    """
    path = str(folder / contract.EXTRA / contract.WARMUP_FILE)
    refuses = f"A server does not load the version. {_ENDS}"
    try:
        requests = read_warmup(folder)
    except ValueError as error:
        return 0, [Finding("error", path, f"The warm-up requests cannot be read: {error}. {refuses}", _AGAIN)]
    if not requests:
        what = "There are no warm-up requests: the first caller after a start waits for seconds."
        return 0, [Finding("warning", str(folder), what, "Export it with python -m export --saved-model.")]
    findings = []
    if len(requests) > MOST:
        what = f"There are {len(requests)} warm-up requests; a server takes {MOST}. {refuses}"
        findings.append(Finding("error", path, what, "Leave some of them out."))
    for signature in sorted(set(module.signatures) - {request.signature for request in requests}):
        what = f"No warm-up request calls {signature}: its first caller waits for seconds."
        findings.append(Finding("warning", path, what, "Export it with python -m export --saved-model."))
    answered = set()
    for number, request in sorted(enumerate(requests, 1), key=lambda pair: pair[1].batch):
        if request.kind in answered:
            continue
        answered.add(request.kind)
        try:
            answer(module, request)
        except Exception as error:  # whatever TensorFlow raises
            what = f"Request {number}, for {request.signature}, fails: {_first_line(error)} {refuses}"
            findings.append(Finding("error", path, what, _AGAIN))
    return len(requests), findings


@contextmanager
def trying(folder: Path) -> Iterator[Callable[[], list[Finding]]]:
    """Send wrong requests to the version in `folder`, in a process of its own, while the block does something else.

    Yields:
        A function that waits for its end and says what was found.
    """
    with hostile.trying(folder) as trial:

        def found() -> list[Finding]:
            try:
                outcomes = trial.outcomes()
            except ValueError as error:
                return [Finding("error", str(folder), f"Wrong requests cannot be tried on it: {error}.", _AGAIN)]
            mend = "Let its graph ensure the shape (tf.ensure_shape), as python -m export --saved-model does."
            return [
                Finding("error" if outcome.is_fatal else "warning", str(folder), f"{outcome}.", mend)
                for outcome in outcomes
                if outcome.is_bad
            ]

        yield found


def _first_line(error: BaseException) -> str:
    """Return the first line of an error's message that says something, with a full stop at its end."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = next((line for line in lines if line != "Graph execution error:"), type(error).__name__)
    return text[:300].rstrip(".: ") + "."
