"""What photos show, as a list says it: ImageNet's validation photos lie in one folder, and their classes in a file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from kerascnn.data import devkit_classes, wordnet_ids
from kerascnn.photos.files import PhotosError, find_class, known_classes

_WORDNET_ID = re.compile(r"(n\d{8})[\d\s]*")  # Kaggle's list has boxes behind it


def read_truth(path: Path, names: Sequence[str], labels: Sequence[str] | None, classes: int) -> list[int]:
    """Read the classes of photos from a list.

    Each line is `NAME CLASS`, with a space, a tab or a comma between, for photos in any order; or it is a class alone,
    for photos in the order of their names. A class is a name, a WordNet id or an index from 0. Lines of photos that are
    not there are passed over. A list of numbers alone from 1 to 1,000 is that of ILSVRC-2012's development kit.

    Args:
        path: The list.
        names: The photos, in the order of their names.
        labels: Class names in the network's order.
        classes: How many classes the network knows.

    Returns:
        The class of each photo.

    Raises:
        PhotosError: The list cannot be read, does not fit the photos, or has something that is no class.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise PhotosError(f"The list of classes {path} cannot be read ({error.strerror}).") from error
    except UnicodeDecodeError as error:
        raise PhotosError(f"The list of classes {path} is not UTF-8 text. Save it as UTF-8.") from error
    rows = [(number, line.strip()) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]
    photos = _by_every_name(names)
    pairs = [(number, *_split(line)) for number, line in rows]
    named = any(_photo(first, photos) for _, first, _ in pairs[:2])  # the first line may be a heading
    if named:
        found: dict[str, tuple[int, str]] = {}
        for number, first, entry in pairs:
            name = _photo(first, photos)
            if name and found.setdefault(name, (number, entry))[1] != entry:
                raise PhotosError(f"{path} has two classes for {name}, in lines {found[name][0]} and {number}.")
        missing = [name for name in names if name not in found]
        if missing:
            raise PhotosError(
                f"{path} says nothing of {len(missing):,} of the {len(names):,} photos, such as {missing[0]}. Give a "
                "list with a line for each photo."
            )
        entries = [found[name] for name in names]
    elif len(rows) == len(names):
        entries = rows
    else:
        raise PhotosError(
            f"{path} has {len(rows):,} lines for {len(names):,} photos, and they do not begin with the photos' names. "
            "In a list, each line is NAME CLASS; or there is one line for each photo, a class alone, in the order of "
            "their names."
        )
    devkit = _is_devkit([text for _, text in entries], named, path, wordnet_ids(labels) is not None)
    if devkit:
        return [devkit_classes()[int(text) - 1] for _, text in entries]
    known = known_classes(labels, wordnet_ids(labels))
    return [find_class(text, known, classes, f"Line {number} of {path}, {text!r},") for number, text in entries]


def _split(line: str) -> tuple[str, str]:
    """Divide a line into what comes first and the class behind it."""
    mark = next((mark for mark in ("\t", ",") if mark in line), None)
    first, _, rest = line.partition(mark) if mark else line.partition(" ")
    wnid = _WORDNET_ID.fullmatch(rest.strip())
    return first.strip(), wnid[1] if wnid else rest.strip()


def _by_every_name(names: Sequence[str]) -> dict[str, str]:
    """Map every name of a photo to it: its path, and where no other photo has them, its file name and stem."""
    found: dict[str, str | None] = {}
    for name in names:
        path = PurePosixPath(name)
        for alias in {path.name, path.stem}:
            found[alias] = None if alias in found else name
    return {alias: name for alias, name in found.items() if name} | dict(zip(names, names, strict=True))


def _photo(text: str, photos: dict[str, str]) -> str | None:
    return photos.get(text) or photos.get(text.rpartition("/")[2])


def _is_devkit(texts: Sequence[str], named: bool, path: Path, imagenet: bool) -> bool:
    """Tell whether classes are numbers from 1, in the development kit's order, and refuse what may be either."""
    if not imagenet or not all(text.isdecimal() and text.isascii() for text in texts):
        return False
    numbers = set(map(int, texts))
    last = len(devkit_classes())
    if 0 in numbers or (named and last not in numbers):
        return False
    if named or last not in numbers:
        raise PhotosError(
            f"The numbers in {path} go from {min(numbers)} to {max(numbers)}. They may be indices, which begin with 0, "
            "or those of ILSVRC-2012's development kit, which begin with 1 and have another order. Give WordNet ids, "
            f"or {'indices from 0' if named else 'NAME INDEX lines, with indices from 0'}."
        )
    return max(numbers) == last
