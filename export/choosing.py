"""Which weights a network is exported with: from what `--weights` says to a record, and to a file in the cache."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from export.errors import ExportError, RequestError

if TYPE_CHECKING:
    from kerascnn.registry import WeightsRecord
    from kerascnn.weights.container.header import Header

OR_RANDOM = "auto,none"  # published weights, or random ones where these cannot be fetched


def read_header(path: str | Path) -> Header:
    """Read what a .kdc file says of its network.

    Raises:
        RequestError: It cannot be read.
    """
    from kerascnn.weights import WeightsError, container

    try:
        return container.read_header(path)
    except (WeightsError, OSError) as error:
        raise RequestError(str(error)) from error


@dataclass(frozen=True)
class ChosenWeights:
    """The weights to export a network with.

    Attributes:
        source: What the builder is given; None for random weights.
        record: The record of published weights; None for random weights and for a file of the user's own.
        demanded: Whether there is no export without them.
        address: Where on the Hugging Face hub `source` was fetched from; "" for others.
    """

    source: str | None = None
    record: WeightsRecord | None = None
    demanded: bool = True
    address: str = ""


def choose_weights(name: str, weights: str) -> ChosenWeights:
    """Choose the weights of a variant from what `--weights` says, and fetch what is only known once it is here.

    That are files on the Hugging Face hub; published weights are not fetched yet.

    `auto` prefers what is at hand to what has to be fetched, and takes random ones only where none are published.

    Raises:
        RequestError: There are no such weights.
        ExportError: The Hugging Face hub does not give them.
    """
    from kerascnn.weights.sources import preferred

    if weights == "none":
        return ChosenWeights()
    if weights in ("auto", OR_RANDOM):
        record = preferred(name)
        return ChosenWeights(record.name if record else None, record, demanded=weights == "auto")
    from kerascnn.weights import WeightsUnavailable, resolve

    try:
        resolved = resolve(name, weights)
    except (ValueError, FileNotFoundError, ImportError) as error:
        raise RequestError(str(error)) from error
    except WeightsUnavailable as error:
        raise ExportError(str(error)) from error
    source = str(resolved.path) if resolved.address else weights
    return ChosenWeights(source, resolved.record, address=resolved.address)


def weights_state(name: str, weights: str) -> tuple[str, bool | None]:
    """Say which weights an export would take, and whether that makes it trained (None: not known)."""
    if name.endswith(".keras"):
        return "the weights in the file", None
    if name.endswith(".kdc"):
        return "the weights in the file", read_header(name).trained
    chosen = choose_weights(name, weights)
    if chosen.source is None:
        return "UNTRAINED, random weights", False
    if chosen.record is None:
        return chosen.source, None
    from kerascnn.weights.sources import location

    if Path(chosen.source).is_file():
        return f"{chosen.record.full_name} from {chosen.source}", chosen.record.trained
    where = "from the cache" if location(chosen.record).exists() else f"to be fetched from {chosen.record.url}"
    if chosen.record.packaged:
        where = "which come with kerascnn"
    return f"{chosen.record.full_name}, {where}", True


def fetch_weights(chosen: ChosenWeights, warn: Callable[[str], None]) -> ChosenWeights:
    """Fetch published weights; choose random ones where these cannot be had and were not demanded.

    Raises:
        ExportError: They were demanded and cannot be had, or they are damaged.
    """
    from kerascnn.weights import WeightsError, WeightsUnavailable, fetch

    if chosen.record is None or Path(chosen.source or "").is_file():
        return chosen
    try:
        fetch(chosen.record)
    except WeightsUnavailable as error:
        if chosen.demanded:
            raise ExportError(
                f"{error} On the command line, --weights {OR_RANDOM} goes on with random ones."
            ) from error
        warn(str(error))
        return ChosenWeights()
    except WeightsError as error:
        raise ExportError(str(error)) from error
    return chosen
