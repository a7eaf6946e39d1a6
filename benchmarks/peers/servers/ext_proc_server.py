"""What Envoy's ext_proc filter talks to over gRPC: does each work, which the metadata names. `python ext_proc_server.py` prints its address."""

# What grpc makes of the .proto file has no types.
# pyright: basic

import asyncio
import base64
import hashlib
import hmac
import json
import posixpath
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import unquote

import grpc
import grpc.aio

messages, services = grpc.protos_and_services("ext_proc.proto")

USERS = {b"alice": hashlib.sha256(b"secret").digest()}
MAX_MESSAGE = 16 << 20
Response = messages.ProcessingResponse


def passed(*added: tuple[str, str], without: tuple[str, ...] = ()) -> Response:
    """The request goes on, with headers added and removed."""
    response = Response()
    mutation = response.request_headers.response.header_mutation
    for name, value in added:
        option = mutation.set_headers.add(append_action="OVERWRITE_IF_EXISTS_OR_ADD")
        option.header.key, option.header.raw_value = name, value.encode()
    mutation.remove_headers.extend(without)
    return response


def denied(status: int) -> Response:
    """The request is answered."""
    response = Response()
    response.immediate_response.status.code = status
    return response


def header_edit(headers: list[tuple[str, bytes]]) -> Response:
    """All headers are read, and the upstream gets one more."""
    return passed(("x-size", str(sum(len(value) for _, value in headers))))


def three_reads(headers: list[tuple[str, bytes]]) -> Response:
    """Three headers decide."""
    found = dict(headers)
    wanted = found.get("x-tenant") == b"acme" and found.get("x-plan") == b"gold" and found.get("x-region") == b"eu"
    return passed() if wanted else denied(403)


def basic_auth(headers: list[tuple[str, bytes]]) -> Response:
    """The credentials decide, and the upstream gets the user."""
    found = dict(headers)
    path = posixpath.normpath(unquote(found.get(":path", b"").partition(b"?")[0].decode("utf-8", "surrogateescape")))
    if found.get(":method") != b"GET" or not path.startswith("/"):
        return passed(without=("x-user",))
    values = [value for name, value in headers if name == "authorization"]
    scheme, _, encoded = (values[0] if len(values) == 1 else b"").partition(b" ")
    try:
        user, _, password = base64.b64decode(encoded, validate=True).partition(b":")
    except ValueError:
        return denied(401)
    accepted = hmac.compare_digest(USERS.get(user, b""), hashlib.sha256(password).digest())
    return passed(("x-user", user.decode())) if accepted and scheme.lower() == b"basic" else denied(401)


def json_body(body: bytes) -> Response:
    """One field of the document is changed."""
    document = json.loads(body)
    document["status"] = "checked"
    response = Response()
    mutation = response.request_body.response.body_mutation
    mutation.body = json.dumps(document, separators=(",", ":")).encode()
    return response


BY_HEADERS = {work.__name__: work for work in (header_edit, three_reads, basic_auth)}


class Processor(services.ExternalProcessorServicer):
    """One stream for each request that passes Envoy."""

    async def Process(  # noqa: N802 - the service's definition names it
        self, request_iterator: AsyncIterator[Any], context: grpc.aio.ServicerContext
    ) -> AsyncIterator[Response]:
        """Answer what Envoy sends of one request."""
        work = dict(context.invocation_metadata() or ())["x-work"]
        async for request in request_iterator:
            if request.HasField("request_body"):
                yield json_body(request.request_body.body)
            elif work in BY_HEADERS:
                yield BY_HEADERS[work]([(each.key, each.raw_value) for each in request.request_headers.headers.headers])
            else:
                yield passed(without=("content-length",))


async def serve() -> None:
    """Serve until the process is ended."""
    limits = [("grpc.max_receive_message_length", MAX_MESSAGE), ("grpc.max_send_message_length", MAX_MESSAGE)]
    server = grpc.aio.server(options=limits)
    services.add_ExternalProcessorServicer_to_server(Processor(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"127.0.0.1:{port}", flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(serve())
