"""Calls gRPC methods with classes that protoc generated from greeter.proto: `protoc --python_out=. --pyi_out=. greeter.proto`."""

from typing import Any

from greeter_pb2 import HelloReply, HelloRequest

from proxy_wasm import Action, Headers, HttpContext, PluginContext


class Greeter(PluginContext):
    def http_context(self) -> HttpContext[Any]:
        return Greeting(self)


class Greeting(HttpContext[Greeter]):
    async def on_request_headers(self, headers: Headers, end_of_stream: bool) -> Action:
        request = HelloRequest(name=headers["name"], numbers=[1, 2, 3], labels={"path": headers[":path"]})
        reply = HelloReply.FromString(
            await self.grpc_call("greeter", "test.Greeter", "SayHello", request.SerializeToString())
        )
        return self.send_local_response(200, body=f"{reply.message} {reply.total} {reply.asked.labels['path']}")
