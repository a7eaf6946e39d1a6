"""`make demo`: extensions/basic_auth in a real Envoy; a denied, an accepted and an unprotected request through it."""

import base64
import sys
from pathlib import Path

from proxy_wasm.testing import Exchange, Extension, PluginSettings, Proxy, open_host

EXTENSION = Path(__file__).parents[1] / "extensions" / "basic_auth"
CONFIGURATION = b"""{
  "realm": "demo",
  "basic_auth_rules": [{"prefix": "/admin", "request_methods": ["GET"], "credentials": ["alice:secret"]}],
  "forward_username_header": "x-authenticated-user"
}"""


def main() -> int:
    print("Building extensions/basic_auth into one Wasm module ...", flush=True)
    extension = Extension(EXTENSION, lambda step: print(f"  {step}", flush=True))
    module = extension.module()
    print(f"  {module.relative_to(EXTENSION.parents[1])}: {module.stat().st_size / 1e6:.1f} MB")
    print("Starting Envoy with it ...", flush=True)
    host = open_host("envoy")
    try:
        proxy = Proxy.start(host, extension, PluginSettings(CONFIGURATION))
        expected = [
            show("A request to /admin without credentials", proxy.get("/admin"), 401),
            show("The same with alice's", proxy.get("/admin", headers=basic("alice:secret")), 200),
            show("A request to /public, which no rule protects", proxy.get("/public"), 200),
        ]
    finally:
        host.close()
    print("\nAll as expected." if all(expected) else "\nNot as expected.")
    return 0 if all(expected) else 1


def basic(credentials: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(credentials.encode()).decode()}


def show(title: str, exchange: Exchange, expected: int) -> bool:
    """Print what came of a request; whether its status is the expected one."""
    print(f"\n{title}: {exchange.status}, {exchange.details}")
    if "www-authenticate" in exchange.headers:
        print(f"  www-authenticate: {exchange.headers['www-authenticate']}")
    if exchange.upstream is not None and "x-authenticated-user" in exchange.upstream.headers:
        print(f"  to the upstream as x-authenticated-user: {exchange.upstream.headers['x-authenticated-user']}")
    return exchange.status == expected


if __name__ == "__main__":
    sys.exit(main())
