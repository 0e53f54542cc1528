"""Status and metadata of models, as the messages of gRPC and as the JSON that REST makes of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tensorflow_serving.apis.get_model_metadata_pb2 import GetModelMetadataResponse
    from tensorflow_serving.apis.get_model_status_pb2 import GetModelStatusResponse

    from serving.development.version_table import Table

SIGNATURE_DEF = "signature_def"


def status(table: Table, name: str, number: int | None, label: str | None) -> GetModelStatusResponse:
    """Return the state of the versions of a model, or of the one asked for by number; a label counts for nothing."""
    from tensorflow_serving.apis.get_model_status_pb2 import GetModelStatusResponse

    response = GetModelStatusResponse()
    for version in table.statuses(name, number):
        row = response.model_version_status.add(version=version.number, state=int(version.state))
        row.status.error_code, row.status.error_message = int(version.code), version.message
    return response


def metadata(table: Table, name: str, number: int | None, label: str | None) -> GetModelMetadataResponse:
    """Return the signatures of a loaded version."""
    from tensorflow_serving.apis.get_model_metadata_pb2 import GetModelMetadataResponse, SignatureDefMap

    with table.lease(name, number, label) as version:
        signatures = SignatureDefMap()
        for key, definition in version.servable.meta_graph.signature_def.items():
            signatures.signature_def[key].CopyFrom(definition)
        response = GetModelMetadataResponse()
        response.model_spec.name = name
        response.model_spec.version.value = version.number
        response.metadata[SIGNATURE_DEF].Pack(signatures)
        return response


def status_json(table: Table, name: str, number: int | None, label: str | None) -> bytes:
    """Return `status` for REST: every field is written, and 64-bit numbers are strings."""
    from google.protobuf.json_format import MessageToJson

    return MessageToJson(status(table, name, number, label), always_print_fields_with_no_presence=True).encode()


def metadata_json(table: Table, name: str, number: int | None, label: str | None) -> bytes:
    """Return `metadata` for REST, with the signatures unpacked under `metadata.signature_def`."""
    from google.protobuf.json_format import MessageToDict
    from tensorflow_serving.apis.get_model_metadata_pb2 import SignatureDefMap

    from serving.development.rest.replies import dump

    response = metadata(table, name, number, label)
    signatures = SignatureDefMap()
    response.metadata[SIGNATURE_DEF].Unpack(signatures)
    spec, definitions = (
        MessageToDict(part, always_print_fields_with_no_presence=True, preserving_proto_field_name=True)
        for part in (response.model_spec, signatures)
    )
    return dump({"model_spec": spec, "metadata": {SIGNATURE_DEF: definitions}})
