"""Many different tokens through one Envoy worker: whether every answer is right, and memory is bounded by the cache of tokens.

    python benchmarks/soak_jwt.py                                             # 200,000 requests with 50,000 tokens
    python benchmarks/soak_jwt.py --requests 10000 --tokens 2500 --cache 200

Every token comes several times, in rounds in which each comes once, so that the cache has to give up others for it. Some are expired or forged. Every status is
compared with the one that is due. Memory is measured when the cache has been full for a while, after a quarter of the requests; what Envoy's memory grows by from then on is printed; status
1 where a status was wrong or the growth is above the target. Envoy answers the accepted requests itself.
"""

import argparse
import base64
import hmac
import json
import secrets
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from soak import report, resident_megabytes

from proxy_wasm.bench.load import CONNECTIONS, PIPELINED, LoadFailed, Wire, send_all
from proxy_wasm.build import build
from proxy_wasm.envoy import EnvoyProcess, WasmFilter, bootstrap, encode_request, listener

EXTENSION = Path(__file__).parents[1] / "extensions" / "jwt_headers"
TARGET = 8.0
"""MB that Envoy's memory may grow by, once the cache is full."""


def encoded(data: bytes) -> str:
    """base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Tokens:
    """Requests with tokens of one issuer, as many as are wanted, and the status that is due for each."""

    def __init__(self, count: int) -> None:
        self.secret = secrets.token_bytes(32)
        self._count = count
        self._header = encoded(json.dumps({"alg": "HS256", "kid": "1"}).encode())
        self._now = int(time.time())

    def configuration(self, cache: int) -> bytes:
        key = {"kty": "oct", "kid": "1", "k": encoded(self.secret)}
        provider = {
            "local_jwks": {"keys": [key]},
            "claim_to_headers": [{"claim": "sub", "header": "x-jwt-sub"}],
            "jwt_cache_config": {"jwt_cache_size": cache},
        }
        configuration = {"providers": {"a": provider}, "rules": [{"prefix": "/", "requires": "a"}]}
        return json.dumps(configuration).encode()

    def wire(self, number: int) -> Wire:
        """The request with the token of this number: of ten one is expired and one forged."""
        kind = number % 10
        expires = self._now + (36_000 if kind != 1 else -36_000)
        claims = {"sub": f"user-{number}", "iat": self._now - 72_000, "exp": expires, "scope": "read write " * 20}
        text = f"{self._header}.{encoded(json.dumps(claims).encode())}"
        signature = hmac.digest(self.secret if kind != 2 else bytes(32), text.encode(), "sha256")  # noqa: PLR2004 - one of ten
        headers = [(b"host", b"example.com"), (b"authorization", f"Bearer {text}.{encoded(signature)}".encode())]
        return Wire(encode_request("GET", "/", headers), 401 if kind in {1, 2} else 200)

    def batches(self, start: int, requests: int) -> Iterator[tuple[Wire, ...]]:
        """So many requests from the token with the number `start` on, a few at a time."""
        for first in range(start, start + requests, PIPELINED):
            yield tuple(self.wire(number % self._count) for number in range(first, first + PIPELINED))


def proxy(module: Path, configuration: bytes) -> EnvoyProcess:
    """An Envoy with one worker and jwt_headers in it that answers accepted requests itself."""
    configured = listener("soak", [WasmFilter(module, configuration)])
    (host,) = configured["filter_chains"][0]["filters"][0]["typed_config"]["route_config"]["virtual_hosts"]
    answer = {"status": 200, "body": {"inline_string": "ok\n"}}
    host["routes"] = [{"match": {"prefix": "/"}, "direct_response": answer}]
    return EnvoyProcess(bootstrap(listeners=[configured]), wasm_log_level="warning")


def main() -> int:
    """Measure, print, and return 1 where something is not as it should be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=200_000)
    parser.add_argument("--tokens", type=int, default=50_000, help="how many different tokens there are")
    parser.add_argument("--cache", type=int, default=1000, help="how many tokens the filter remembers")
    parser.add_argument("--target", type=float, default=TARGET, help="MB that memory may grow by")
    parser.add_argument("--json", type=Path, help="write the figures there")
    arguments = parser.parse_args()
    tokens = Tokens(arguments.tokens)
    outcomes = Counter[tuple[int, int]]()
    seconds: list[float] = []
    resident: list[float] = []
    first = arguments.requests // 4
    with proxy(build(EXTENSION).path, tokens.configuration(arguments.cache)) as envoy:
        address = envoy.admin.listeners()["soak"]
        for start, count in ((0, first), (first, arguments.requests - first)):
            began = time.perf_counter()
            try:
                counted = send_all(address, tokens.batches(start, count), connections=min(CONNECTIONS, count))
            except LoadFailed as error:
                raise SystemExit(str(error)) from error
            outcomes += Counter({(due or 0, actual): times for (due, actual), times in counted.items()})
            seconds.append(time.perf_counter() - began)
            resident.append(resident_megabytes(envoy.pid))
    print(f"{arguments.tokens:,} different tokens, {arguments.cache:,} of which are remembered")
    missed = report(outcomes, seconds, resident, arguments.target, workers=1)
    if arguments.json:
        figures = {"requests": outcomes.total(), "seconds": seconds, "resident_megabytes": resident}
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n", "utf-8")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
