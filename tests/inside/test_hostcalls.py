"""Hostcalls, the methods of headers, fingerprints and counters as built-in functions: what they make of arguments that they cannot take is a Python exception, and the VM lives on."""

import pytest

from proxy_wasm.testing import Proxy

pytestmark = pytest.mark.hosts("wasm", "envoy")

EXPECTED = {
    "too few": "TypeError: get_property: called with 0 arguments; proxy_wasm.abi.hostcalls.Hostcalls tells what it takes",
    "too many": "TypeError: get_property: called with 2 arguments; proxy_wasm.abi.hostcalls.Hostcalls tells what it takes",
    "by name": "TypeError: proxy_wasm.guest.hostcalls.get_property() takes no keyword arguments",
    "text for bytes": "TypeError: expected bytes, str found",
    "a number for bytes": "TypeError: expected bytes, int found",
    "bytes for a number": "TypeError: ",
    "a negative number": "OverflowError: ",
    "a large number": "OverflowError: ",
    "a large offset": "OverflowError: ",
    "a large value": "OverflowError: ",
    "a large status": "OverflowError: ",
    "unknown map": "HostError: proxy_get_header_map_pairs: BAD_ARGUMENT",
}


def test_arguments_of_the_wrong_number_type_or_size_are_refused(probe: Proxy) -> None:
    outcomes = probe.get("/", headers={"act": "wrong arguments"}).json()
    assert outcomes.keys() == EXPECTED.keys()
    for name, outcome in outcomes.items():
        assert outcome.startswith(EXPECTED[name]), name


def test_the_methods_of_headers_do_as_built_in_functions_what_they_do_in_python(probe: Proxy) -> None:
    headers = [
        ("act", "compare the methods of headers"),
        ("x-one", "1"),
        ("x-many", "a"),
        ("x-many", "b"),
        ("x-bytes", b"\xff\xfe caf\xc3\xa9"),
        ("x-empty", ""),
    ]
    count, differing = probe.get("/path?query", headers=headers).json()
    assert differing == []
    assert count > 500


def test_fingerprints_are_those_that_python_makes(probe: Proxy) -> None:
    assert probe.get("/", headers={"act": "fingerprints that differ"}).json() == []


def test_what_has_no_fingerprint_is_refused(probe: Proxy) -> None:
    assert probe.get("/", headers={"act": "wrong arguments for a fingerprint"}).json() == [
        "TypeError: fingerprint_with() missing 1 required positional argument: 'secret'",
        "TypeError: a fingerprint is of str or bytes, not of int",
        "TypeError: fingerprint_with() takes 2 positional arguments but 3 were given",
        "TypeError: a fingerprint is of str or bytes, not of NoneType",
    ]


def test_fingerprints_of_headers_are_those_that_python_makes(probe: Proxy) -> None:
    headers = [("act", "fingerprints of headers that differ"), ("x-one", "0")]
    count, differing = probe.get("/path?query", headers=headers).json()
    assert differing == []
    assert count > 150


def test_what_are_no_headers_have_no_fingerprint(probe: Proxy) -> None:
    assert probe.get("/", headers={"act": "wrong arguments for a fingerprint of headers"}).json() == [
        "TypeError: headers_fingerprint_with() missing 1 required positional argument: 'headers'",
        "TypeError: headers_fingerprint_with() takes 2 positional arguments but 3 were given",
        "TypeError: a fingerprint is of Headers, not of str",
        "TypeError: a fingerprint is of Headers, not of NoneType",
    ]


def test_counters_count_as_in_python(probe: Proxy) -> None:
    large = 1 << 40
    out_of_range = "ValueError: metric own_functions: {} is out of range"
    assert probe.get("/", headers={"act": "countings"}).json() == [
        ["None", 1],
        ["None", 2],
        ["None", 4],
        ["None", 4],
        ["None", 5],
        ["None", large + 5],
        [out_of_range.format(-1), large + 5],
        [out_of_range.format(1 << 63), large + 5],
        ["TypeError: Counter.increment() takes from 1 to 2 positional arguments but 3 were given", large + 5],
        ["TypeError: Counter.increment() got an unexpected keyword argument 'm'", large + 5],
        ["TypeError: '<=' not supported between instances of 'int' and 'str'", large + 5],
        ["HostError: proxy_increment_metric: NOT_FOUND", 0],
        ["AttributeError: 'proxy_wasm.metrics.Counter' object has no attribute '_id'", 0],
    ]
