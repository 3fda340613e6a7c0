"""The OTLP requests as message classes whose `string` fields are read as bytes.

A strict proto3 parser refuses a whole request for one string that is not UTF-8, and real exporters send such strings
(a cut emoji as ED A0 BD). On the wire `string` and `bytes` are the same, so the published OTLP descriptors are loaded
into a pool of their own with the one type changed to the other; text is then decoded leniently, where it is used.
"""

from functools import cache
from typing import Any, Final, Literal

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

Signal = Literal["traces", "logs"]

_REQUESTS: Final[dict[Signal, tuple[Any, str]]] = {
    "traces": (trace_service_pb2, "opentelemetry.proto.collector.trace.v1.ExportTraceServiceRequest"),
    "logs": (logs_service_pb2, "opentelemetry.proto.collector.logs.v1.ExportLogsServiceRequest"),
}
_Field = descriptor_pb2.FieldDescriptorProto


def _strings_as_bytes(message: descriptor_pb2.DescriptorProto) -> None:
    for field in message.field:
        if field.type == _Field.TYPE_STRING:
            field.type = _Field.TYPE_BYTES
    for nested in message.nested_type:
        _strings_as_bytes(nested)


def _add(pool: descriptor_pool.DescriptorPool, file: Any, added: set[str]) -> None:
    if file.name in added:
        return
    added.add(file.name)
    for dependency in file.dependencies:
        _add(pool, dependency, added)
    proto = descriptor_pb2.FileDescriptorProto()
    file.CopyToProto(proto)
    for message in proto.message_type:
        _strings_as_bytes(message)
    pool.AddSerializedFile(proto.SerializeToString())


@cache
def request_class(signal: Signal = "traces") -> Any:
    """The lenient class of a signal's export request."""
    module, name = _REQUESTS[signal]
    pool = descriptor_pool.DescriptorPool()
    _add(pool, module.DESCRIPTOR, set())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))
