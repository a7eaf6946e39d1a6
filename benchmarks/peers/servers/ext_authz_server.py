"""What Envoy's ext_authz filter asks over HTTP: does each work, whose name begins the path. `python ext_authz_server.py` prints its address."""

# uvloop is not everywhere.
# pyright: basic, reportMissingImports=false

import base64
import hashlib
import hmac
import posixpath
import socket
from urllib.parse import unquote

import uvloop
from aiohttp import web

USERS = {b"alice": hashlib.sha256(b"secret").digest()}


async def header_edit(request: web.Request) -> web.Response:
    """All headers are read, and the upstream gets one more."""
    size = sum(len(value) for value in request.headers.values())
    return web.Response(headers={"x-size": str(size)})


async def three_reads(request: web.Request) -> web.Response:
    """Three headers decide."""
    headers = request.headers
    wanted = headers.get("x-tenant") == "acme" and headers.get("x-plan") == "gold" and headers.get("x-region") == "eu"
    return web.Response(status=200 if wanted else 403)


async def basic_auth(request: web.Request) -> web.Response:
    """The credentials decide, and the upstream gets the user."""
    path = posixpath.normpath(unquote("/" + request.match_info["path"]))
    if request.method != "GET" or not path.startswith("/"):
        return web.Response()
    user = authenticated(request.headers.getall("authorization", []))
    if user is None:
        return web.Response(status=401, headers={"www-authenticate": 'Basic realm="istio"'})
    return web.Response(headers={"x-user": user})


def authenticated(values: list[str]) -> str | None:
    """The user, where these `authorization` headers are one with credentials that are right."""
    scheme, _, encoded = (values[0] if len(values) == 1 else "").partition(" ")
    try:
        user, _, password = base64.b64decode(encoded, validate=True).partition(b":")
    except ValueError:
        return None
    digest = hashlib.sha256(password).digest()
    accepted = hmac.compare_digest(USERS.get(user, b""), digest)
    return user.decode() if accepted and scheme.lower() == "basic" else None


def service() -> web.Application:
    """The service, with a part for each work."""
    app = web.Application()
    for work in (header_edit, three_reads, basic_auth):
        app.router.add_route("*", f"/{work.__name__}/{{path:.*}}", work)
    return app


if __name__ == "__main__":
    listening = socket.create_server(("127.0.0.1", 0))
    print(f"127.0.0.1:{listening.getsockname()[1]}", flush=True)
    web.run_app(service(), sock=listening, print=None, access_log=None, loop=uvloop.new_event_loop())
