"""What a .tflite file says of itself, in the form that Android's and MediaPipe's readers know (TFLite Metadata).

A buffer named TFLITE_METADATA holds a flatbuffer of its own: how the input is normalized, and which file names the
classes. That file, `labels.txt`, is in a ZIP archive behind the model, beside `kerascnn.json` with what the format has
no fields for. The archive is not compressed, because MediaPipe refuses one that is.

No maintained package writes this. Tables are built here by the field numbers of `metadata_schema.fbs`, version 1.0.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

from export.formats import tensorflow_lite
from kerascnn.photos.preprocessing import Preprocessing
from kerascnn.photos.runtimes import ABOUT_FILE, LABELS_FILE

_DESCRIPTIONS, _AXIS_LABELS = 1, 2  # kinds of associated files
_COLORS = {"rgb": 1, "gray": 2}  # there is none for BGR
_IMAGE_PROPERTIES, _NORMALIZATION = 2, 1  # members of the unions ContentProperties and ProcessUnitOptions


def describe(content: Any, metadata: Mapping[str, str]) -> None:
    """Put metadata into a model, whose inputs and outputs have their names.

    Args:
        content: The model as `tensorflow_lite.unpacked` gives it.
        metadata: Its name as `model`; `trained`, `labels` and `preprocessing` as JSON texts. Without any, the model
            stays as it is.
    """
    schema = tensorflow_lite.schema()
    if not metadata:
        return
    graph = content.subgraphs[0]
    ends = [[_text(graph.tensors[index].name) for index in indices] for indices in (graph.inputs, graph.outputs)]
    buffer, entry = schema.BufferT(), schema.MetadataT()
    buffer.data = _described(_values(metadata), *ends)
    entry.name, entry.buffer = "TFLITE_METADATA", len(content.buffers)
    content.buffers.append(buffer)
    content.metadata = [*(content.metadata or []), entry]


def with_files(flatbuffer: bytes, metadata: Mapping[str, str]) -> bytes:
    """Append the archive to a finished file. It comes last: in a file with int4 weights, these lie behind the model.

    Args:
        flatbuffer: The file.
        metadata: As `describe` was given it.
    """
    if not metadata:
        return flatbuffer
    file = io.BytesIO(flatbuffer)
    file.seek(0, io.SEEK_END)
    with zipfile.ZipFile(file, "w") as archive:
        for name, text in _files(_values(metadata)).items():
            archive.writestr(zipfile.ZipInfo(name), text)  # of the same date in every export
    return file.getvalue()


def _text(name: bytes | str) -> str:
    return name if isinstance(name, str) else name.decode()


def _values(metadata: Mapping[str, str]) -> dict[str, Any]:
    return {name: text if name == "model" else json.loads(text) for name, text in metadata.items()}


def _files(values: Mapping[str, Any]) -> dict[str, str]:
    about = {name: value for name, value in values.items() if name != "labels"}
    files = {ABOUT_FILE: json.dumps(about, ensure_ascii=False)}
    if values.get("labels"):
        files[LABELS_FILE] = "".join(" ".join(label.splitlines()) + "\n" for label in values["labels"])
    return files


def _described(values: Mapping[str, Any], inputs: Sequence[str], outputs: Sequence[str]) -> bytes:
    """Build the flatbuffer, a ModelMetadata."""
    tables = _Tables()
    known = values.get("preprocessing")
    reading = Preprocessing.from_fields(known) if known and len(inputs) == 1 else None
    sources = [tables.source(name, reading) for name in inputs]
    labels = tables.file(LABELS_FILE, _AXIS_LABELS) if values.get("labels") and len(outputs) == 1 else None
    targets = [tables.table({0: tables.text(name), 6: tables.vector([labels] if labels else [])}) for name in outputs]
    graph = tables.table({2: tables.vector(sources), 3: tables.vector(targets)})
    about = tables.file(ABOUT_FILE, _DESCRIPTIONS)
    named = {0: tables.text(values.get("model", "")), 7: tables.text("1.0.0")}  # the name, the oldest reader
    return tables.finished(tables.table({**named, 3: tables.vector([graph]), 6: tables.vector([about])}))


class _Tables:
    """Writes tables of the schema. What another refers to is written first; a reference of 0 is none."""

    def __init__(self) -> None:
        import flatbuffers

        self.builder: Any = flatbuffers.Builder(1024)

    def text(self, value: str) -> int:
        return int(self.builder.CreateString(value))

    def vector(self, references: Sequence[int]) -> int:
        if not references:
            return 0
        self.builder.StartVector(4, len(references), 4)
        for reference in reversed(references):
            self.builder.PrependUOffsetTRelative(reference)
        return int(self.builder.EndVector())

    def floats(self, values: Sequence[float]) -> int:
        self.builder.StartVector(4, len(values), 4)
        for value in reversed(values):
            self.builder.PrependFloat32(value)
        return int(self.builder.EndVector())

    def table(self, references: Mapping[int, int], kinds: Mapping[int, int] | None = None) -> int:
        """Write a table of references and of members of enumerations, both by the numbers of their fields."""
        kinds = kinds or {}
        self.builder.StartObject(max((*references, *kinds)) + 1)
        for field, reference in references.items():
            self.builder.PrependUOffsetTRelativeSlot(field, reference, 0)
        for field, kind in kinds.items():
            self.builder.PrependInt8Slot(field, kind, 0)
        return int(self.builder.EndObject())

    def file(self, name: str, kind: int) -> int:
        """Write an AssociatedFile."""
        return self.table({0: self.text(name)}, {2: kind})

    def source(self, name: str, reading: Preprocessing | None) -> int:
        """Write the TensorMetadata of an input.

        Readers give RGB or gray images. Where a network takes BGR, nothing is said of its normalization: they refuse
        such a file, instead of giving it images with red for blue.
        """
        named = {0: self.text(name)}
        if reading is None or reading.channel_order not in _COLORS:
            return self.table(named)
        image = self.table({}, {0: _COLORS[reading.channel_order]})
        normalization = self.table({0: self.floats(reading.mean), 1: self.floats(reading.std)})
        unit = self.table({1: normalization}, {0: _NORMALIZATION})
        return self.table({**named, 3: self.table({1: image}, {0: _IMAGE_PROPERTIES}), 4: self.vector([unit])})

    def finished(self, root: int) -> bytes:
        self.builder.Finish(root, b"M001")
        return bytes(self.builder.Output())
