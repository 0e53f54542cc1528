"""Protobuf messages from a .proto file, without protoc.

tensorflow-serving-api lacks some messages, and imports TensorFlow for the others. Each file gets a descriptor pool of
its own, so another package may define the same messages.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto
    from google.protobuf.message import Message

    class DynamicMessage(Message):
        """A message whose fields are known at run time only."""

        def __getattr__(self, name: str) -> Any: ...

        def __setattr__(self, name: str, value: Any) -> None: ...


_PACKAGE = "tensorflow.serving"
_MESSAGE = re.compile(r"^message (\w+) \{(.*?)\}$", re.DOTALL | re.MULTILINE)
_ENUM = re.compile(r"^enum (\w+) \{(.*?)\}$", re.DOTALL | re.MULTILINE)
_VALUE = re.compile(r"(\w+) = (\d+);")
_FIELD = re.compile(r"(repeated |map<string, )?([\w.]+)>? (\w+) = (\d+);")


def message_classes(path: Path) -> dict[str, type[DynamicMessage]]:
    """Build the class of each message in a file.

    The file has messages and enumerations at its top level only. Fields are scalars, messages or enumerations of the
    file, Google's wrappers, lists of these, or maps from strings.
    """
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, wrappers_pb2

    file = descriptor_pb2.FileDescriptorProto(
        name=path.name, package=_PACKAGE, syntax="proto3", dependency=[wrappers_pb2.DESCRIPTOR.name]
    )
    text = path.read_text(encoding="utf-8")
    for name, body in _ENUM.findall(text):
        enum = file.enum_type.add(name=name)
        for value, number in _VALUE.findall(body):
            enum.value.add(name=value, number=int(number))
    enums = {enum.name for enum in file.enum_type}
    for name, body in _MESSAGE.findall(text):
        message = file.message_type.add(name=name)
        for label, kind, field, number in _FIELD.findall(body):
            if label.startswith("map"):
                entry = message.nested_type.add(name=f"{field.title()}Entry")
                entry.options.map_entry = True
                _add_field(entry, "key", 1, "string")
                _add_field(entry, "value", 2, kind)
                kind = f"{name}.{entry.name}"
            added = _add_field(message, field, int(number), kind, repeated=bool(label))
            if kind in enums:
                added.type = added.TYPE_ENUM
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    get_class: Any = message_factory.GetMessageClass
    descriptors = [pool.FindMessageTypeByName(f"{_PACKAGE}.{message.name}") for message in file.message_type]
    return {descriptor.name: get_class(descriptor) for descriptor in descriptors}


def _add_field(
    message: DescriptorProto, name: str, number: int, kind: str, *, repeated: bool = False
) -> FieldDescriptorProto:
    from google.protobuf.descriptor_pb2 import FieldDescriptorProto as Field

    field = message.field.add(name=name, number=number)
    field.label = Field.LABEL_REPEATED if repeated else Field.LABEL_OPTIONAL
    if kind[0].islower() and "." not in kind:
        field.type = getattr(Field, f"TYPE_{kind.upper()}")
    else:
        package = "" if kind.startswith("google.") else f".{_PACKAGE}"
        field.type, field.type_name = Field.TYPE_MESSAGE, f"{package}.{kind}"
    return field
