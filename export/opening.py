"""From what `--model` and `--weights` say to a Keras model, and what is known of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export.choosing import OR_RANDOM, choose_weights, fetch_weights, read_header
from export.errors import RequestError
from export.untrained import calm_branches

if TYPE_CHECKING:
    import keras

    from kerascnn.photos.preprocessing import Preprocessing
    from kerascnn.registry import WeightsRecord
    from kerascnn.training.runs import Finished


@dataclass(frozen=True)
class Origin:
    """Where a model comes from, as the manifest tells it.

    trained: False for random weights; None for a model of the user's own, of which nothing is known.
    weights: name, SHA-256, address and licence of published weights; file name and SHA-256 of a saved model.
    """

    name: str
    variant: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    trained: bool | None = None
    weights: Mapping[str, Any] | None = None

    @property
    def stem(self) -> str:
        """What the artifacts' names begin with; an untrained network says so there."""
        return f"{self.name}_untrained" if self.trained is False else self.name


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to export. `labels` and `preprocessing` are None where they are not known."""

    model: keras.Model
    origin: Origin
    preprocessing: Preprocessing | None
    labels: tuple[str, ...] | None


def expand_names(specs: tuple[str, ...]) -> list[str]:
    """Names and .keras paths, with patterns such as `resnet*` replaced by the variants that they match.

    Raises:
        RequestError: a name is unknown, a pattern matches nothing, a file does not exist, or two have one name.
    """
    from kerascnn.registry import list_models, variant

    if not specs:
        raise RequestError("No model was named. Give --model NAME (see --list), a pattern, or a .keras file.")
    names: dict[str, None] = {}
    for spec in specs:
        run = _run_in(spec)
        if run is not None:
            names[str(run.model)] = None
            continue
        if spec.endswith((".keras", ".h5", ".kdc")) or "/" in spec:
            _check_file(Path(spec))
            names[spec] = None
            continue
        matching = list_models(spec)
        if not matching and any(mark in spec for mark in "*?["):
            raise RequestError(f"No model matches the pattern {spec!r}; --list shows them all.")
        if not matching:
            try:
                variant(spec)
            except ValueError as error:
                raise RequestError(f"{error} A model of your own is given as the path of its .keras file.") from None
        names.update(dict.fromkeys(matching))
    folders = [Path(name).stem for name in names]
    for folder in folders:
        if folders.count(folder) > 1:
            raise RequestError(f"Two of the models would go to a folder named {folder}. Export them one by one.")
    return list(names)


def _run_in(spec: str) -> Finished | None:
    """Find what a training has left, where its folder is named as the model."""
    from kerascnn.training.runs import find_finished

    folder = Path(spec)
    if not folder.is_dir():
        return None
    try:
        run = find_finished(folder)
    except ValueError as error:
        raise RequestError(str(error)) from None
    if run is None and "/" in spec:
        raise RequestError(
            f"{folder} is a folder in which no training has come to an end. Give a model file, or the "
            "folder of `kerascnn train` or `kerascnn finetune`."
        )
    return run


def calibration_of(specs: tuple[str, ...]) -> Path | None:
    """Find the photos that a fine-tuning run has kept to quantize its network with; None for more models than one."""
    run = _run_in(specs[0]) if len(specs) == 1 else None
    return run.calibration if run is not None else None


def _check_file(path: Path) -> None:
    if not path.is_file():
        raise RequestError(f"There is no model file {path}.")
    if path.suffix not in (".keras", ".kdc"):
        raise RequestError(f"{path} is not a .keras or .kdc file; save the model with model.save('NAME.keras').")
    if path.suffix == ".kdc":
        read_header(path)


def check_builder_options(name: str, weights: str, input_size: tuple[int, int] | None, classes: int | None) -> None:
    """Refuse what the builder or the weights could not do, without building anything.

    Raises:
        RequestError: the weights do not exist or have other classes; the size is too small; an option for a file.
    """
    from kerascnn.registry import variant

    if name.endswith((".keras", ".kdc")):
        given: dict[str, object] = {"--weights": weights not in ("auto", OR_RANDOM), "--classes": classes}
        if name.endswith(".kdc"):
            given["--input-size"] = input_size
        for option, value in given.items():
            if value:
                raise RequestError(f"{option} is for models by name; {name} brings its own.")
        return
    row = variant(name)
    if input_size and min(input_size) < row.min_size:
        raise RequestError(
            f"{name} cannot take an input of {input_size[0]}x{input_size[1]}: nothing would be left after its strides. "
            f"The smallest that works is {row.min_size}x{row.min_size}."
        )
    record = choose_weights(name, weights).record
    if record and classes not in (None, record.classes):
        raise RequestError(
            f"The weights {record.full_name} have {record.classes:,} classes, so --classes {classes} cannot be had "
            "from them. Fine-tune a new head, save it as a .keras file and export that; or give --weights none."
        )


def build(
    name: str,
    *,
    weights: str = "auto",
    input_size: tuple[int, int] | None = None,
    classes: int | None = None,
    warn: Callable[[str], None],
) -> LoadedModel:
    """Build a variant with the weights that were asked for.

    Args:
        name: the variant, or the path of a .kdc file, which brings its own weights.
        weights: `auto` (published ones; random ones where there are none), `auto,none` (also where they cannot be
            had), `none`, a name or a path.
        input_size: (height, width), the variant's own by default.
        classes: number of classes, the variant's own by default.
        warn: told when the model is untrained.

    Raises:
        RequestError: what was asked for does not fit.
        ExportError: published weights that were demanded could not be fetched or are damaged.
    """
    import keras

    from kerascnn import factory, registry
    from kerascnn.data import class_names
    from kerascnn.photos.preprocessing import known_preprocessing

    title = name
    if name.endswith(".kdc"):
        title, name, weights = Path(name).stem, read_header(name).variant, name
    row = registry.variant(name)
    chosen = fetch_weights(choose_weights(name, weights), warn)
    trained = chosen.record.trained if chosen.record else None if chosen.source else False
    if trained is False:
        warn(f"{title} is exported UNTRAINED: its weights are random, and its answers mean nothing.")
    options: dict[str, Any] = {}
    record = chosen.record
    crop = (record.preprocessing or {}).get("crop") if record and record.input_shape is None else None
    size = input_size or crop
    if size:
        options["input_shape"] = (*size, row.input_shape[2])
    if classes is not None:
        options["classes"] = classes
    keras.utils.set_random_seed(0)  # an untrained export is the same every time
    try:
        model = factory.create_model(name, weights=chosen.source, **options)
    except (ValueError, TypeError, ImportError) as error:
        raise RequestError(str(error)) from error
    if chosen.source is None:
        calm_branches(model)
    # A file of the user's own does not tell how its photos were prepared.
    known = chosen.record is not None or chosen.source is None
    if record:
        options |= dict(record.options)
    origin = Origin(title, name, options, trained, _weights_entry(record, chosen.source, chosen.address))
    labels = class_names(record.labels) if record else None
    return LoadedModel(model, origin, known_preprocessing(model) if known else None, labels)


def origin_of(model: keras.Model) -> tuple[Origin, tuple[str, ...] | None]:
    """What is known of a model that came from Python, and its class names where its head has kept them."""
    from kerascnn.build_info import BuildInfo, build_info

    info = build_info(model) or BuildInfo()
    labels, record = info.class_names(model.outputs[0].shape[-1]), info.weights
    if record is None:
        return Origin(model.name), labels
    weights = _weights_entry(record)
    return Origin(model.name, record.variant, record.options, trained=record.trained, weights=weights), labels


def _weights_entry(record: WeightsRecord | None, source: str | None = None, address: str = "") -> dict[str, Any] | None:
    from kerascnn.weights import cache_folder
    from kerascnn.weights.sources import sha256

    path = Path(source) if source else Path()
    if record is None:
        entry = {"url": address} if address else {}
        return {"file": path.name, "sha256": sha256(path)} | entry if source else None
    if record.format == "kdc":
        made_from = {"name": record.source, "url": record.url, "licence": record.licence}
        return {"file": record.file, "sha256": record.sha256} | {key: text for key, text in made_from.items() if text}
    if not path.is_file():
        path = cache_folder() / record.file
    digest = record.sha256
    if len(digest) < 64 and path.is_file():  # some publishers print less than all of it
        digest = sha256(path)
    return {"name": record.full_name, "sha256": digest, "url": record.url, "licence": record.licence}


def first_line(error: BaseException) -> str:
    """The first line of an error's message, for a sentence of ours."""
    text = str(error).strip()
    return text.splitlines()[0][:300] if text else type(error).__name__
