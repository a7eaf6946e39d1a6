"""What Envoy does with header maps, beyond what a header map is.

Input from a guest is limited (proxy-wasm-cpp-host, `limits.h`), and some repeated names become one: Envoy keeps well-known
headers in fields of their own, which hold one value, and joins a second one with a comma, from the wire and from filters
alike. The names were found by sending each of 80 twice through Envoy 1.40.
"""

from collections.abc import Iterable

from proxy_wasm.abi.enums import MapType
from proxy_wasm.abi.header_map import decode_pairs, encode_pairs
from proxy_wasm.emulator.header_map import HeaderMap

MAX_PAIRS_BYTES = 1 << 20
MAX_PAIRS = 1024

_BOTH = """
    cache-control content-encoding content-type via x-envoy-attempt-count x-envoy-decorator-operation x-request-id
    :path :method :authority :scheme :status
"""
JOINED_IN_REQUESTS = frozenset(
    f"""
    accept accept-encoding authorization cdn-loop grpc-accept-encoding grpc-timeout if-match if-modified-since
    if-none-match if-range if-unmodified-since origin pragma referer user-agent x-client-trace-id
    x-envoy-downstream-service-cluster x-envoy-original-path x-forwarded-for x-forwarded-host x-forwarded-port
    x-forwarded-proto access-control-request-method access-control-request-headers {_BOTH}
    """.encode().split()
)
JOINED_IN_RESPONSES = frozenset(
    f"""
    age date etag expires grpc-message last-modified location server vary x-envoy-upstream-service-time
    access-control-allow-origin access-control-allow-credentials access-control-allow-headers
    access-control-allow-methods access-control-expose-headers access-control-max-age {_BOTH}
    """.encode().split()
)


def name_in(map_type: int, name: bytes) -> bytes:
    """The name by which a map knows `name`: in request headers `host` is another word for `:authority`."""
    is_host = map_type == MapType.HTTP_REQUEST_HEADERS and name.lower() == b"host"
    return b":authority" if is_host else name


def add(headers: HeaderMap, name: bytes, value: bytes, joined: frozenset[bytes]) -> None:
    """Add a pair as Envoy does: a name in `joined` keeps one value, to which `value` is joined, unless either is empty."""
    name = name.lower()
    present = headers.values_of(name) if name in joined else []
    if not present:
        headers.add(name, value)
        return
    headers.change(name, b",".join(part for part in (present[0], value) if part))


def replace(headers: HeaderMap, pairs: Iterable[tuple[bytes, bytes]], joined: frozenset[bytes]) -> None:
    """Make `pairs` all that `headers` holds."""
    headers.remove_all()
    for name, value in pairs:
        add(headers, name, value, joined)


def joined(headers: HeaderMap, names: frozenset[bytes]) -> HeaderMap:
    """A copy as Envoy's codec would make it from the wire."""
    result = HeaderMap()
    replace(result, headers.raw, names)
    return result


def pairs_from_guest(serialized: bytes) -> list[tuple[bytes, bytes]]:
    """The pairs that a guest passes; none at all where they are malformed or beyond a limit, as the host has it."""
    if len(serialized) > MAX_PAIRS_BYTES or int.from_bytes(serialized[:4], "little") > MAX_PAIRS:
        return []
    try:
        pairs = decode_pairs(serialized)
    except ValueError:
        return []
    return pairs if encode_pairs(pairs) == serialized else []


def pairs_to_guest(headers: HeaderMap | None) -> bytes:
    """`headers` in serialized form; no bytes where there are no pairs, or no map."""
    return encode_pairs(headers.raw) if headers is not None and headers.pair_count else b""
