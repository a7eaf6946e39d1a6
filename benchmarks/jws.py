"""How long signatures of tokens take to verify in Python: with extensions/jwt_headers, and with the package `ecdsa`.

    python benchmarks/jws.py                       # natively and in modules, 5 rounds
    python benchmarks/jws.py --rounds 9 --host wasm --json jws.json

Both get the same signatures, in filters that are alike but for that; in each round they take turns. A figure is what each further signature by one key adds to a
request. "first" is what the first signature of a VM takes, with the tables for its key and its curve. Medians of the ratios, and the memory of a VM after its first
signature, are compared with the targets; the exit status says whether they are met.
"""

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from proxy_wasm.bench.report import machine
from proxy_wasm.testing import Extension, Host, PluginSettings, Proxy, open_host

REPOSITORY = Path(__file__).parents[1]
EXTENSION = REPOSITORY / "extensions" / "jwt_headers"
FILTER = Path(__file__).parent / "signatures"

TARGET = 1.5
"""How many times as fast as `ecdsa` it must be, for each algorithm that both have."""
LIBRARIES: Mapping[str, tuple[str, list[str]]] = {
    "own": ("own:Own", []),
    "ecdsa": ("ecdsa_package:EcdsaPackage", ["ecdsa==0.19.2"]),
}
"""The plugin of the filter, and what it depends on."""
TIMES = 20

HostName = Literal["native", "wasm"]
Json = dict[str, Any]


def signature(algorithm: str) -> Json:
    """A text of the size of a token, with a signature of it and the key."""
    text = b"the header of a token, and its payload " * 20
    private: Any
    if algorithm == "EdDSA":
        private = ed25519.Ed25519PrivateKey.generate()
        jwk = OKPAlgorithm.to_jwk(private.public_key(), as_dict=True)
    elif algorithm.startswith("ES"):
        curve = {"ES256": ec.SECP256R1, "ES384": ec.SECP384R1, "ES512": ec.SECP521R1}[algorithm]
        private = ec.generate_private_key(curve())
        jwk = ECAlgorithm.to_jwk(private.public_key(), as_dict=True)
    else:
        private = rsa.generate_private_key(65537, 2048)
        jwk = RSAAlgorithm.to_jwk(private.public_key(), as_dict=True)
    signed = jwt.get_algorithm_by_name(algorithm).sign(text, private)
    return {"algorithm": algorithm, "jwk": jwk, "text": text.hex(), "signature": signed.hex()}


@contextmanager
def extensions() -> Generator[dict[str, Extension]]:
    """A filter for each library."""
    with tempfile.TemporaryDirectory(prefix="proxy-wasm-benchmark-") as folder:
        yield {name: Extension(assembled(Path(folder) / name, name)) for name in LIBRARIES}


def assembled(project: Path, library: str) -> Path:
    """The folder of the filter with this library."""
    plugin, dependencies = LIBRARIES[library]
    project.mkdir()
    shutil.copy(FILTER / "signatures_filter.py", project)
    shutil.copy(FILTER / f"{plugin.partition(':')[0]}.py", project)
    if library == "own":
        for name in ("keys", "der", "rsa", "multiples", "ecdsa", "eddsa"):
            shutil.copy(EXTENSION / f"jws_{name}.py", project)
    settings = (
        f'[project]\nname = "signatures"\nversion = "1.0"\ndependencies = {json.dumps(dependencies)}\n\n'
        f'[tool.proxy-wasm]\nplugin = "{plugin}"\n'
    )
    (project / "pyproject.toml").write_text(settings, "utf-8")
    return project


def seconds(proxy: Proxy, times: int) -> float:
    """How long a request with so many signatures takes."""
    start = time.perf_counter()
    exchange = proxy.get("/", headers={"x-times": str(times)})
    taken = time.perf_counter() - start
    if exchange.status != 200:  # noqa: PLR2004 - OK
        raise SystemExit(f"the signature was not verified: {exchange.details}")
    return taken


def measure(host: Host, name: HostName, algorithm: str, filters: Mapping[str, Extension], rounds: int) -> Json:
    """What each library takes in each round, and its memory."""
    settings = PluginSettings(json.dumps(signature(algorithm)).encode())
    proxies = {library: Proxy.start(host, filters[library], settings) for library in libraries_for(algorithm)}
    found: Json = {library: {"each": []} for library in proxies}
    try:
        for library, proxy in proxies.items():
            found[library]["first"] = seconds(proxy, 1)
            found[library]["memory"] = proxy.memory if name == "wasm" else None
        for _ in range(rounds):
            for library, proxy in proxies.items():
                one = seconds(proxy, 1)
                found[library]["each"].append((seconds(proxy, 1 + TIMES) - one) / TIMES)
    finally:
        for proxy in proxies.values():
            proxy.stop()
    return found


def libraries_for(algorithm: str) -> list[str]:
    return list(LIBRARIES) if algorithm.startswith("E") else ["own"]


ALGORITHMS = ("RS256", "PS256", "ES256", "ES384", "ES512", "EdDSA")


def report(host: str, measurements: Mapping[str, Json]) -> bool:
    """Print a table; whether a target is missed."""
    missed = False
    print(f"{host:9}{'each':>12}{'first':>12}{'ecdsa, each':>14}{'first':>12}{'ratio':>8}{'memory':>10}{'ecdsa':>10}")
    for algorithm, found in measurements.items():
        row = f"{algorithm:9}{shown(found['own'])}"
        if "ecdsa" in found:
            both = zip(found["ecdsa"]["each"], found["own"]["each"], strict=True)
            ratio = statistics.median(other / own for other, own in both)
            memories = [found[library]["memory"] for library in LIBRARIES]
            too_slow = ratio < TARGET
            too_large = None not in memories and memories[0] > memories[1]
            missed |= too_slow or too_large
            sizes = "" if None in memories else "".join(f"{memory / 1e6:7.2f} MB" for memory in memories)
            row += f"  {shown(found['ecdsa'])}{ratio:8.1f}{sizes}  {'MISSED' if too_slow or too_large else 'met'}"
        print(row)
    print()
    return missed


def shown(found: Json) -> str:
    return f"{statistics.median(found['each']) * 1e3:9.3f} ms{found['first'] * 1e3:9.1f} ms"


def main() -> int:
    """Measure, print, and return 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--host", choices=("native", "wasm"), help="only this one")
    parser.add_argument("--json", type=Path, help="write every measurement there")
    arguments = parser.parse_args()
    names: tuple[HostName, ...] = (arguments.host,) if arguments.host else ("native", "wasm")
    print(f"signatures, on {machine()}; medians of {arguments.rounds} rounds; target {TARGET} times as fast\n")
    missed = False
    measurements: dict[str, dict[str, Json]] = {}
    with extensions() as filters:
        for name in names:
            host = open_host(name)
            measurements[name] = {
                algorithm: measure(host, name, algorithm, filters, arguments.rounds) for algorithm in ALGORITHMS
            }
            missed |= report(name, measurements[name])
    if arguments.json:
        document = {"machine": machine(), "seconds": measurements}
        arguments.json.write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
