from proxy_wasm import protobuf
from proxy_wasm.emulator.clusters import grpc_unary
from proxy_wasm.testing import StartProxy

NAME, NUMBERS, LABELS = 1, 2, 3
"""Fields of `HelloRequest` (grpc_messages/greeter.proto)."""
MESSAGE, TOTAL, ASKED = 1, 2, 3
"""Fields of `HelloReply`."""


def say_hello(message: bytes) -> bytes:
    request = protobuf.Message(message)
    total = sum(request.octets(NUMBERS))  # packed: small numbers are a byte each
    return protobuf.encode((MESSAGE, f"hello, {request.text(NAME)}"), (TOTAL, -total), (ASKED, message))


def test_classes_that_protoc_generated_make_and_read_the_messages(start_proxy: StartProxy) -> None:
    proxy = start_proxy("grpc_messages", clusters={"greeter": grpc_unary({"/test.Greeter/SayHello": say_hello})})
    for name in ("J\u00fcrgen", "you"):
        exchange = proxy.get("/where", headers={"name": name.encode()})
        assert exchange.status == 200, proxy.logs
        assert exchange.body.decode() == f"hello, {name} -6 /where"
