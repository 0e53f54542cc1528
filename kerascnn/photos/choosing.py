"""How photos are prepared, as a command line says it: a name or a file, and what differs from that."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import click

from kerascnn.console import options_as

Command = TypeVar("Command", bound=Callable[..., Any])
Size = tuple[int, int]


@dataclass(frozen=True)
class PreprocessingChoice:
    """What a command line says of preprocessing. What is None stays as it is.

    Attributes:
        named: The name of weights or of a normalization, or the path of a JSON file.
        resize: "whole" for the network's own size, whatever the photo's shape; a number for the shorter side; or
            (height, width).
        crop: (height, width) of the center crop; "none" for the whole photo.
        interpolation: As `Preprocessing.interpolation`.
        channels: As `Preprocessing.channel_order`.
        mean: As `Preprocessing.mean`.
        std: As `Preprocessing.std`.
    """

    named: str | None = None
    resize: int | Size | str | None = None
    crop: Size | str | None = None
    interpolation: str | None = None
    channels: str | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    @property
    def given(self) -> bool:
        """Whether anything was said."""
        return self != PreprocessingChoice()

    def resolve(self, shape: tuple[int | None, ...], known: Any) -> Any:
        """Return the preprocessing that is meant.

        Args:
            shape: (height, width, channels) of the network's input; sides may be None.
            known: The `Preprocessing` that the model brings, or None.

        Returns:
            A `Preprocessing`; None where nothing is said and nothing is known.

        Raises:
            ValueError: There is none of that name, or what is said does not give an image of that shape.
        """
        from kerascnn.photos.preprocessing import Preprocessing

        base = read_preprocessing(self.named, shape) if self.named is not None else known
        fields: dict[str, Any] = {
            "interpolation": self.interpolation,
            "channel_order": self.channels,
            "mean": self.mean,
            "std": self.std,
        }
        changes = {name: value for name, value in fields.items() if value is not None} | self._sizes(shape)
        if not changes:
            return base
        if base is None:  # the whole photo in the network's size, unless it is said otherwise
            base = Preprocessing.named("none", shape)
        return replace(base, **changes).checked(shape)

    def scaled(self, shape: tuple[int | None, ...]) -> str:
        """Say in a sentence what becomes of weights' preprocessing that is for another size; "" where it stays."""
        from kerascnn.photos.preprocessing import NORMALIZATIONS, find_preprocessing

        if (
            self.named is None
            or self.named in NORMALIZATIONS
            or self.named.endswith(".json")
            or self.resize
            or self.crop
        ):
            return ""
        original, chosen = find_preprocessing(self.named), self.resolve(shape, None)
        if (original.resize, original.crop) == (chosen.resize, chosen.crop):
            return ""
        return (
            f"{self.named} is for another size ({original.words}). Here photos are prepared so: {chosen.words}. If the "
            "network was trained on whole photos, say --resize whole."
        )

    def _sizes(self, shape: tuple[int | None, ...]) -> dict[str, Any]:
        """Return what is said of sizes; a new way to resize replaces the crop as well."""
        size = shape[:2] if None not in shape[:2] else None
        changes: dict[str, Any] = {}
        if self.resize is not None:
            whole = self.resize == "whole"
            if whole and size is None:
                raise ValueError("--resize whole needs a network of a fixed size; give the size as --resize HxW.")
            changes = {"resize": size if whole else self.resize, "crop": None if whole else size}
        if self.crop is not None:
            changes["crop"] = None if self.crop == "none" else self.crop
        return changes


def read_preprocessing(named: str, shape: tuple[int | None, ...]) -> Any:
    """Return the `Preprocessing` of a name or of a JSON file, for a network's input shape.

    Args:
        named: A normalization ("torch"), weights ("squeezenet/imagenet"), or a .json file: the fields of a
            `Preprocessing`, alone or under the key "preprocessing" as in an export's manifest.json.
        shape: (height, width, channels); sides may be None.

    Raises:
        ValueError: There is none of that name, or the file does not hold one.
    """
    from kerascnn.photos.preprocessing import NORMALIZATIONS, Preprocessing, find_preprocessing

    if named.endswith(".json"):
        return _from_file(Path(named)).checked(shape)
    if named in NORMALIZATIONS:
        return Preprocessing.named(named, shape)
    known = find_preprocessing(named)
    height, width = shape[:2]
    return known.for_size(height, width) if height and width else known


def _from_file(path: Path) -> Any:
    from kerascnn.photos.preprocessing import Preprocessing

    try:
        fields = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}).") from None
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error}).") from None
    if isinstance(fields, dict) and "preprocessing" in fields:
        fields = fields["preprocessing"]
    try:
        return Preprocessing.from_fields({name: value for name, value in fields.items() if name != "included"})
    except (TypeError, AttributeError, ValueError) as error:
        names = ", ".join(Preprocessing.__dataclass_fields__)
        raise ValueError(f"{path} is not an object of {names}, each of which may be left out ({error}).") from None


def preprocessing_options(command: Command) -> Command:
    """Give a command the options that say how photos are prepared; it gets a `PreprocessingChoice`, `preprocessing`."""
    options = [
        (
            "--preprocessing",
            "named",
            {
                "metavar": "NAME|FILE.json",
                "help": "How photos are prepared: as for the weights squeezenet/imagenet, say; or none, unit, tf, "
                "torch, caffe (the whole photo, normalized so); or a JSON file such as another export's manifest.",
            },
        ),
        (
            "--resize",
            "resize",
            {
                "metavar": "whole|short:N|HxW",
                "callback": _resize,
                "help": "The whole photo to the input size; or its shorter side to N pixels.",
            },
        ),
        ("--crop", "crop", {"metavar": "N|HxW|none", "callback": _crop, "help": "Center crop after resizing."}),
        (
            "--interpolation",
            "interpolation",
            {"type": click.Choice(("bilinear", "bicubic", "nearest")), "help": "How a photo is resized."},
        ),
        (
            "--channels",
            "channels",
            {"type": click.Choice(("rgb", "bgr", "gray")), "help": "Channel order of the network's input."},
        ),
        (
            "--mean",
            "mean",
            {
                "metavar": "LIST",
                "callback": _numbers,
                "help": "Subtracted from 0 to 255: one number, or one a channel.",
            },
        ),
        ("--std", "std", {"metavar": "LIST", "callback": _numbers, "help": "Divided by afterwards."}),
    ]
    command = options_as(PreprocessingChoice, "preprocessing")(command)
    for option, name, settings in reversed(options):
        command = click.option(option, name, **settings)(command)  # type: ignore[arg-type]
    return command


def _size(text: str) -> Size | None:
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(side.isascii() and side.isdecimal() and int(side) for side in sides):
        return None
    return int(sides[0]), int(sides[-1])


def _resize(ctx: click.Context, param: click.Parameter, text: str | None) -> int | Size | str | None:
    if text is None or text == "whole":
        return text
    kind, _, number = text.rpartition(":")
    size = _size(number)
    if size is None or kind not in ("", "short") or (kind == "short" and "x" in number):
        raise click.UsageError(
            "--resize is whole (the whole photo to the input size), short:N (the shorter side to N pixels) or HxW; it "
            f"is {text!r}."
        )
    return size[0] if kind == "short" else size


def _crop(ctx: click.Context, param: click.Parameter, text: str | None) -> Size | str | None:
    if text is None or text == "none":
        return text
    size = _size(text)
    if size is None:
        raise click.UsageError(
            f"--crop is one number or HEIGHTxWIDTH, such as 224 or 224x320, or none; it is {text!r}."
        )
    return size


def _numbers(ctx: click.Context, param: click.Parameter, text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise click.UsageError(f"{param.opts[0]} is one number or one a channel, by commas; it is {text!r}.") from None
    if param.opts[0] == "--std" and 0 in numbers:
        raise click.UsageError("--std divides by its numbers, so none may be 0.")
    return numbers
