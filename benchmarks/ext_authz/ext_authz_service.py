"""An HTTP service for Envoy's ext_authz filter that asks OPA: `python ext_authz_service.py URL-OF-THE-RULE` prints its address."""

import socket
import sys
from collections.abc import AsyncGenerator

from aiohttp import ClientSession, web


async def authorize(request: web.Request) -> web.Response:
    """200 where OPA allows the request, else 403."""
    http = {"method": request.method, "path": request.path_qs, "headers": dict(request.headers)}
    question = {"attributes": {"request": {"http": http}}, "parsed_path": request.path.lstrip("/").split("/")}
    async with request.app[SESSION].post(sys.argv[1], json={"input": question}) as answer:
        allowed = answer.status == 200 and (await answer.json()).get("result") is True  # noqa: PLR2004 - OK
    return web.Response(status=200 if allowed else 403)


async def session(app: web.Application) -> AsyncGenerator[None]:
    """One session for all requests, as long as the service runs."""
    async with ClientSession() as app[SESSION]:
        yield


def service() -> web.Application:
    """The service, which takes requests for any path."""
    app = web.Application()
    app.cleanup_ctx.append(session)
    app.router.add_route("*", "/{path:.*}", authorize)
    return app


SESSION = web.AppKey("session", ClientSession)

if __name__ == "__main__":
    listening = socket.create_server(("127.0.0.1", 0))
    print(f"127.0.0.1:{listening.getsockname()[1]}", flush=True)
    web.run_app(service(), sock=listening, print=None, access_log=None)
