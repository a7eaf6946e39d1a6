"""The CPU time that checking a token adds to a request, in a real Envoy with one worker: by jwt_headers, and by others.

    python benchmarks/jwt_headers.py                     # 12 rounds of 2 seconds for each case
    python benchmarks/jwt_headers.py --rounds 2 --seconds 0.5 --only cached,basic_auth

Each case is measured against the same Envoy without a filter, which gets the same request, one right after the other, the first one being another each
time; both pass requests on to a third, which answers at once. What is printed are the medians over the rounds of the CPU time for each request.
A token that is "cached" was verified before; the cases that verify have a cache of no tokens. "In Python" are those in which the filter
may not call the proxy's own cryptography. Envoy's own filter, jwt_authn, verifies each time, too, but for "jwt_authn, cached". The filter
in Go (tests/languages/go/jwt) is left out where Go is not installed. Status 1 where the cached case misses its target.
"""

import argparse
import base64
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from proxy_wasm.abi.signatures import CALLBACKS, HOSTCALLS
from proxy_wasm.bench import load
from proxy_wasm.bench.in_envoy import cpu_seconds
from proxy_wasm.bench.load import Wire
from proxy_wasm.build import build
from proxy_wasm.envoy import EnvoyProcess, WasmFilter, bootstrap, cluster, encode_request, listener

Json = dict[str, Any]

ROOT = Path(__file__).parents[1]
EXTENSIONS = ROOT / "extensions"
GO = ROOT / "tests" / "languages" / "go" / "jwt"
ISSUER = "https://accounts.example.com"
CONNECTIONS = 16
WARM = 300
"""Requests before the first round."""
TARGET = 2.0
"""How many times the CPU that basic_auth adds a cached token may add."""
CACHED, BASIC = "cached token", "basic_auth"
HEADERS = [
    (b"host", b"shop.example.com"),
    (b"user-agent", b"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
    (b"accept", b"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
    (b"accept-language", b"en-US,en;q=0.5"),
    (b"accept-encoding", b"gzip, deflate, br, zstd"),
    (b"x-request-id", b"6e1f2e74-7f6b-4a53-9d35-2f7a4d8f1c90"),
]


@dataclass(slots=True)
class Case:
    """Something that checks a request, and the request."""

    name: str
    credentials: bytes
    """The value of `authorization`."""
    entry: Json
    """Envoy's configuration of the filter."""
    added: list[float] = field(default_factory=list[float])
    """Seconds for each request, of each round."""

    @property
    def wire(self) -> Wire:
        return Wire(
            encode_request("GET", "/catalog/items?page=2", [*HEADERS, (b"authorization", self.credentials)]), 200
        )


# Tokens.


def encoded(data: bytes) -> str:
    """base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value: int, size: int | None = None) -> str:
    """A number as JSON Web Keys have it."""
    return encoded(value.to_bytes(size or (value.bit_length() + 7) // 8, "big"))


class Issuer:
    """Keys of each kind, and tokens signed with them."""

    def __init__(self) -> None:
        self.rsa = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.ec = ec.generate_private_key(ec.SECP256R1())
        self.okp = ed25519.Ed25519PrivateKey.generate()
        self.secret = os.urandom(32)

    def rsa_jwk(self) -> Json:
        public = self.rsa.public_key().public_numbers()
        return {"kty": "RSA", "kid": "RS256", "alg": "RS256", "n": number(public.n), "e": number(public.e)}

    def jwks(self) -> Json:
        point = self.ec.public_key().public_numbers()
        return {
            "keys": [
                self.rsa_jwk(),
                {"kty": "EC", "kid": "ES256", "crv": "P-256", "x": number(point.x, 32), "y": number(point.y, 32)},
                {
                    "kty": "OKP",
                    "kid": "EdDSA",
                    "crv": "Ed25519",
                    "x": encoded(self.okp.public_key().public_bytes_raw()),
                },
                {"kty": "oct", "kid": "HS256", "k": encoded(self.secret)},
            ]
        }

    def bearer(self, algorithm: str) -> bytes:
        now = int(time.time())
        claims = {
            "iss": ISSUER,
            "sub": "6f1c2a34-0b51-4d8e-9f5e-2f7d1d3c9a10",
            "aud": "api",
            "iat": now,
            "exp": now + 36_000,
            "scope": "openid profile email",
            "name": "Alice Example",
            "email": "alice@example.com",
        }
        header = {"alg": algorithm, "typ": "JWT", "kid": algorithm}
        text = ".".join(encoded(json.dumps(part, separators=(",", ":")).encode()) for part in (header, claims))
        return f"Bearer {text}.{encoded(self._signature(algorithm, text.encode()))}".encode()

    def _signature(self, algorithm: str, text: bytes) -> bytes:
        if algorithm == "RS256":
            return self.rsa.sign(text, padding.PKCS1v15(), hashes.SHA256())
        if algorithm == "ES256":
            r, s = decode_dss_signature(self.ec.sign(text, ec.ECDSA(hashes.SHA256())))
            return r.to_bytes(32, "big") + s.to_bytes(32, "big")
        if algorithm == "EdDSA":
            return self.okp.sign(text)
        digest = hmac.HMAC(self.secret, hashes.SHA256())
        digest.update(text)
        return digest.finalize()


# Cases.


def jwt_headers(issuer: Issuer, module: Path, name: str, *, cache: int = 0, natively: bool = True) -> Json:
    """The filter of this project; `cache` is the number of tokens that it remembers."""
    provider = {
        "issuer": ISSUER,
        "audiences": ["api"],
        "local_jwks": issuer.jwks(),
        "claim_to_headers": [{"claim": "sub", "header": "x-jwt-sub"}],
        "jwt_cache_config": {"jwt_cache_size": cache},
    }
    configuration = {"providers": {"accounts": provider}, "rules": [{"prefix": "/", "requires": "accounts"}]}
    allowed = (
        ()
        if natively
        else tuple(
            name
            for name in (
                *(f"proxy_{call}" for call in (*HOSTCALLS, *CALLBACKS)),
                "fd_write",
                "clock_time_get",
                "random_get",
                "environ_get",
                "environ_sizes_get",
            )
            if name != "proxy_call_foreign_function"
        )
    )
    return WasmFilter(module, json.dumps(configuration).encode(), name=name, vm_id=name, capabilities=allowed).to_json()


def jwt_authn(issuer: Issuer, *, cached: bool = False) -> Json:
    """Envoy's own filter."""
    provider: Json = {
        "issuer": ISSUER,
        "audiences": ["api"],
        "local_jwks": {"inline_string": json.dumps({"keys": issuer.jwks()["keys"][:2]})},
        "claim_to_headers": [{"claim_name": "sub", "header_name": "x-jwt-sub"}],
    }
    if cached:
        provider["jwt_cache_config"] = {"jwt_cache_size": 1000}
    return {
        "name": "envoy.filters.http.jwt_authn",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
            "providers": {"accounts": provider},
            "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "accounts"}}],
        },
    }


def basic_auth() -> Json:
    """The filter that sets the measure."""
    rule = {"prefix": "/", "request_methods": ["GET"], "credentials": ["alice:secret"]}
    configuration = {
        "basic_auth_rules": [rule],
        "forward_username_header": "x-user",
        "remove_authorization_header": True,
    }
    module = build(EXTENSIONS / "basic_auth").path
    return WasmFilter(module, json.dumps(configuration).encode(), name="basic", vm_id="basic").to_json()


def in_go(issuer: Issuer, folder: Path) -> Json:
    """The filter in Go."""
    module = folder / "jwt.wasm"
    command = ["go", "build", "-buildmode=c-shared", "-trimpath", "-o", str(module), "."]
    environment = {**os.environ, "GOOS": "wasip1", "GOARCH": "wasm", "CGO_ENABLED": "0"}
    subprocess.run(command, cwd=GO, env=environment, check=True)
    configuration = {"issuer": ISSUER, "audience": "api", "keys": [issuer.rsa_jwk()]}
    return WasmFilter(module, json.dumps(configuration).encode(), name="go", vm_id="go").to_json()


def cases(folder: Path) -> Iterator[Case]:
    """Everything that is measured."""
    issuer = Issuer()
    module = build(EXTENSIONS / "jwt_headers").path
    yield Case(BASIC, b"Basic " + base64.b64encode(b"alice:secret"), basic_auth())
    yield Case(CACHED, issuer.bearer("RS256"), jwt_headers(issuer, module, "cached", cache=1000))
    for algorithm in ("RS256", "ES256", "HS256"):
        yield Case(algorithm, issuer.bearer(algorithm), jwt_headers(issuer, module, f"native {algorithm}"))
    for algorithm in ("RS256", "ES256", "EdDSA"):
        entry = jwt_headers(issuer, module, f"python {algorithm}", natively=False)
        yield Case(f"{algorithm} in Python", issuer.bearer(algorithm), entry)
    for algorithm in ("RS256", "ES256"):
        yield Case(f"jwt_authn, {algorithm}", issuer.bearer(algorithm), jwt_authn(issuer))
    yield Case("jwt_authn, cached", issuer.bearer("RS256"), jwt_authn(issuer, cached=True))
    if shutil.which("go"):
        yield Case("Go SDK, RS256", issuer.bearer("RS256"), in_go(issuer, folder))
    else:
        print("Go is not installed: its filter is left out")


# Measuring.


def envoy_with(chosen: Sequence[Case], upstream: tuple[str, int], *, filtered: bool) -> EnvoyProcess:
    """An Envoy with a listener for each case, or one without filters for all of them."""
    if not filtered:
        return EnvoyProcess(bootstrap(clusters=[cluster(*upstream)], listeners=[listener("none", [])]))
    listeners: list[Json] = []
    for case in chosen:
        configured = listener(case.name, [])
        configured["filter_chains"][0]["filters"][0]["typed_config"]["http_filters"].insert(0, case.entry)
        listeners.append(configured)
    return EnvoyProcess(bootstrap(clusters=[cluster(*upstream)], listeners=listeners), wasm_log_level="warning")


def answering() -> EnvoyProcess:
    """An upstream that answers at once."""
    configured = listener("upstream", [])
    (host,) = configured["filter_chains"][0]["filters"][0]["typed_config"]["route_config"]["virtual_hosts"]
    answer = {"status": 200, "body": {"inline_string": "ok\n"}}
    host["routes"] = [{"match": {"prefix": "/"}, "direct_response": answer}]
    return EnvoyProcess(bootstrap(listeners=[configured]))


def cpu_for_each(envoy: EnvoyProcess, name: str, case: Case, seconds: float) -> float:
    """Seconds of CPU time for each request."""
    before = cpu_seconds(envoy.pid)
    done = load.timed(envoy.admin.listeners()[name], [case.wire], seconds, connections=CONNECTIONS)
    if done.refused or not done.requests:
        raise SystemExit(f"{case.name}: {done.refused} of {done.requests} requests were refused")
    return (cpu_seconds(envoy.pid) - before) / done.requests


def measure(chosen: Sequence[Case], rounds: int, seconds: float) -> None:
    """Fill in what each case adds."""
    with ExitStack() as stack:
        upstream = stack.enter_context(answering()).admin.listeners()["upstream"]
        without = stack.enter_context(envoy_with(chosen, upstream, filtered=False))
        behind = stack.enter_context(envoy_with(chosen, upstream, filtered=True))
        for case in chosen:
            for envoy, name in ((without, "none"), (behind, case.name)):
                outcomes = load.counted(envoy.admin.listeners()[name], [case.wire], WARM)
                if wrong := {actual for due, actual in outcomes if due != actual}:
                    raise SystemExit(f"{case.name}: answered with {wrong}\n{envoy.log_path.read_text()[-2000:]}")
        for turn in range(rounds):
            for case in chosen:
                pairs = [(without, "none"), (behind, case.name)]
                cpu = {
                    name: cpu_for_each(envoy, name, case, seconds) for envoy, name in pairs[:: -1 if turn % 2 else 1]
                }
                case.added.append(cpu[case.name] - cpu["none"])


def report(measured: Sequence[Case]) -> bool:
    """Print the medians; whether the target was missed."""
    medians = {case.name: statistics.median(case.added) * 1e6 for case in measured}
    print(f"added CPU per request, microseconds; {CONNECTIONS} connections of {load.generator()}, one worker")
    for case in measured:
        low, high = min(case.added) * 1e6, max(case.added) * 1e6
        print(f"  {case.name:<20}{medians[case.name]:>10.1f}   ({low:.1f} to {high:.1f})")
    if not {CACHED, BASIC} <= medians.keys():
        return False
    ratio = medians[CACHED] / medians[BASIC]
    missed = ratio > TARGET
    print(f"{CACHED} / {BASIC}: {ratio:.2f}, target {TARGET:g}: {'MISSED' if missed else 'met'}")
    return missed


def main() -> int:
    """Measure, print, and return 1 where the target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=2.0, help="how long a round is, for each of both Envoys")
    parser.add_argument("--only", default="", help="cases whose names hold one of these words, separated by commas")
    parser.add_argument("--json", type=Path, help="write the figures there")
    arguments = parser.parse_args()
    words = [word for word in arguments.only.split(",") if word]
    with tempfile.TemporaryDirectory(prefix="proxy-wasm-bench-") as folder:
        chosen = [case for case in cases(Path(folder)) if not words or any(word in case.name for word in words)]
        measure(chosen, arguments.rounds, arguments.seconds)
    missed = report(chosen)
    if arguments.json:
        arguments.json.write_text(json.dumps({case.name: case.added for case in chosen}, indent=1) + "\n", "utf-8")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
