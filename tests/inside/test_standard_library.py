"""Python's standard library inside the module."""

import time
import uuid
from typing import Any

import pytest

from proxy_wasm.testing import Proxy, StartProxy


def result(proxy: Proxy, act: str) -> Any:  # noqa: ANN401 - each act has its own
    exchange = proxy.get("/", headers={"act": act})
    assert exchange.status == 200, exchange.logs
    return exchange.json()


def test_hashes_text_numbers_and_dates_are_what_they_are_everywhere(probe: Proxy) -> None:
    assert result(probe, "library") == {
        "sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        "md5": "900150983cd24fb0d6963f7d28e17f72",
        "sha3": "3a985da74fe225b2045c172d6bd390bd855f086e3e9d525b46bfe24511431532",
        "blake2b": "d8bb14d833d59559",
        "hmac": "9c196e32dc0175f86f4b1cb89289d6619de6bee699e4c378e68309ed97a1a6ab",
        "digest": "4fd0b215276ef12f2b3e4c8ecac2811498b656fc",
        "compare": True,
        "json": '{"b": [1, 2.5, null, "\xe9"]}',
        "re": "123 abc",
        "base64": "YWJj/w==",
        "zlib": 100_000,
        "crc32": 891568578,
        "decimal": "0.3",
        "url": "c=d%20e",
        "date": "2024-02-29T12:00:00+02:00",
        "strptime": "2024-02-29T00:00:00+00:00",
        "dataclass": True,
        "pow": pow(3, 2**127, 2**61 - 1),
        "encoded": ["c3a9", "e900", "000000e9", "e9"],
        "json in bytes": [["\xe9"]] * 4,
        "stringio": ["a\n", "b"],
    }


@pytest.mark.differs_between_hosts("a native filter has the clocks of this process")
def test_every_clock_shows_the_proxys_time(probe: Proxy) -> None:
    clocks = result(probe, "clocks")
    built = clocks.pop("import")
    for name, shown in clocks.items():
        assert abs(shown - time.time()) < 3600, (
            name
        )  # the emulator's clock stands still from the start of the first test on
    assert built <= min(clocks.values()) + 1


@pytest.mark.differs_between_hosts("a native filter has the clocks of this process")
def test_the_monotonic_clock_never_goes_back(probe: Proxy) -> None:
    shown = result(probe, "monotonic")
    time.sleep(0.01)
    shown += result(probe, "monotonic")
    assert shown == sorted(shown)
    if probe.host != "wasm":  # where time stands still unless a test moves it
        assert shown[-1] - shown[0] > 0.01


@pytest.mark.hosts("wasm", "envoy")
def test_random_numbers_differ_from_vm_to_vm_and_from_start_to_start(start_proxy: StartProxy) -> None:
    first = start_proxy("probe", vm_configuration="first", root_id="probe")
    other_vm = start_proxy("probe", vm_configuration="second", root_id="probe")
    other_start = start_proxy("probe", vm_configuration="first", root_id="probe", isolated=True)
    draws = [result(proxy, "chance") for proxy in (first, first, other_vm, other_start)]
    for source in ("random", "choices", "Random", "SystemRandom", "secrets", "urandom", "uuid4", "uuid1"):
        assert len({str(draw[source]) for draw in draws}) == len(draws), source
    assert uuid.UUID(draws[0]["uuid4"]).version == 4


@pytest.mark.hosts("wasm", "envoy")
def test_nothing_of_the_machine_that_built_the_module_shows(probe: Proxy) -> None:
    assert result(probe, "surroundings") == {"environ": {}, "argv": [], "exists": False, "cwd": "/"}


def test_what_an_author_wrote_keeps_its_docstrings_and_annotations(probe: Proxy) -> None:
    assert result(probe, "own docstring") == "Kept, since an author may read it."
    assert result(probe, "own annotations") == ["return"]


def test_tracebacks_tell_lines_of_the_standard_library(probe: Proxy) -> None:
    frames = result(probe, "lines of the library")
    assert [name for name, _ in frames] == ["lines_of_the_library", "loads", "decode", "raw_decode"]
    assert all(has_line for _, has_line in frames)


def test_generic_classes_can_be_named_with_their_plugins_class(probe: Proxy) -> None:
    assert result(probe, "generic classes") == ["Own", "HttpContext"]


@pytest.mark.hosts("wasm", "envoy")
def test_standard_input_is_at_its_end(probe: Proxy) -> None:
    assert result(probe, "input ends") == ["", True]


def test_annotations_can_be_asked_for_at_run_time(probe: Proxy) -> None:
    assert result(probe, "dispatch by annotation") == "int object"
    assert result(probe, "hints of a function") == ["<class 'int'>", "str | None", "<class 'NoneType'>"]
