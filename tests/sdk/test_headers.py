from typing import TYPE_CHECKING, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_wasm import Headers, HostError, PhaseError
from proxy_wasm.abi import Hostcalls, MapType, encode_pairs
from proxy_wasm.headers import serialize

if TYPE_CHECKING:
    from conftest import MemoryHost


REPEATED = [(b"a", b"1"), (b"b", b"2"), (b"A", b"3")]


@pytest.fixture
def headers(host: "MemoryHost") -> Headers:
    return Headers(host.hostcalls, MapType.HTTP_REQUEST_HEADERS)


@pytest.fixture
def repeated(host: "MemoryHost") -> Headers:
    host.side.maps[MapType.HTTP_REQUEST_HEADERS] = list(REPEATED)
    return Headers(host.hostcalls, MapType.HTTP_REQUEST_HEADERS)


def test_one_header_is_read_with_one_hostcall_whatever_its_case(headers: Headers, host: "MemoryHost") -> None:
    assert headers[":path"] == headers.get(":PATH") == headers.get(b":path") == "/"
    assert host.calls == ["get_header_map_value"] * 3


def test_an_absent_header_is_none_or_the_default_or_a_key_error(headers: Headers) -> None:
    assert headers.get("x") is None
    assert headers.get("x", "fallback") == "fallback"
    assert headers.get("x", 7) == 7
    with pytest.raises(KeyError, match="x"):
        headers["x"]


@pytest.mark.parametrize(
    ("path", "without_query"), [(b"/a?b?c", "/a"), (b"/a", "/a"), (b"?b", ""), (b"/\xff?", "/\udcff")]
)
def test_a_path_is_told_without_its_query(host: "MemoryHost", path: bytes, without_query: str) -> None:
    host.side.maps[MapType.HTTP_REQUEST_HEADERS] = [(b":path", path)]
    assert Headers(host.hostcalls, MapType.HTTP_REQUEST_HEADERS).path() == without_query


def test_where_there_is_no_path_it_is_empty(repeated: Headers) -> None:
    assert not repeated.path()


def test_membership_ignores_case_and_what_is_no_text(headers: Headers) -> None:
    assert ":METHOD" in headers
    assert b":method" in headers
    assert "x" not in headers
    assert 7 not in headers


def test_a_repeated_header_has_a_first_value_and_all_of_them(repeated: Headers) -> None:
    assert repeated["a"] == "1"
    assert repeated.getall("a") == repeated.get_list("A") == ["1", "3"]
    assert repeated.getall("c") == []


def test_a_value_that_looks_like_a_name_is_not_taken_for_one(headers: Headers) -> None:
    headers["x"] = "authorization"
    assert headers.getall("authorization") == []


def test_iteration_gives_each_name_once_and_multi_items_everything(host: "MemoryHost") -> None:
    host.side.maps[MapType.HTTP_REQUEST_HEADERS] = [(b"a", b"1"), (b"b", b"2"), (b"a", b"3")]
    headers = Headers(host.hostcalls, MapType.HTTP_REQUEST_HEADERS)
    assert list(headers) == list(headers.keys()) == ["a", "b"]
    assert list(headers.values()) == ["1", "2"]
    assert dict(headers) == dict(headers.items()) == {"a": "1", "b": "2"}
    assert len(headers) == 2
    assert headers.multi_items() == [("a", "1"), ("b", "2"), ("a", "3")]
    assert headers.raw == [(b"a", b"1"), (b"b", b"2"), (b"a", b"3")]


def test_iteration_fetches_the_map_once_and_sees_every_change(headers: Headers, host: "MemoryHost") -> None:
    assert len(headers.items()) == 3
    assert host.calls == ["get_header_map_pairs"]
    headers["x"] = "1"
    assert ("x", "1") in headers.items()


def test_setting_replaces_all_values_and_adding_adds_one(repeated: Headers) -> None:
    repeated["a"] = "4"
    repeated.add("a", b"5")
    assert repeated.getall("a") == ["4", "5"]


def test_deleting_and_discarding_differ_for_absent_headers(headers: Headers) -> None:
    del headers[":method"]
    headers.discard("x")
    with pytest.raises(KeyError, match="x"):
        del headers["x"]
    assert ":method" not in headers


def test_pop_removes_what_it_gives(headers: Headers) -> None:
    assert headers.pop(":path") == "/"
    assert headers.pop(":path", None) is None
    assert headers.pop(":path", "gone") == "gone"
    with pytest.raises(KeyError, match=":path"):
        headers.pop(":path")


def test_the_methods_of_every_mapping_work(headers: Headers) -> None:
    assert headers.setdefault("x", "1") == "1"
    headers.update({"x": "2", "y": "3"})
    assert headers == {":method": "GET", ":path": "/", ":authority": "example.com", "x": "2", "y": "3"}


def test_the_whole_map_can_be_replaced_by_pairs_a_mapping_or_another_map(host: "MemoryHost", headers: Headers) -> None:
    headers.replace([("a", "1"), (b"a", b"2")])
    assert headers.raw == [(b"a", b"1"), (b"a", b"2")]
    host.side.maps[MapType.HTTP_RESPONSE_HEADERS] = list(REPEATED)
    headers.replace(Headers(host.hostcalls, MapType.HTTP_RESPONSE_HEADERS))
    assert headers.raw == REPEATED
    headers.replace({"only": "one"})
    assert headers.raw == [(b"only", b"one")]
    headers.clear()
    assert headers.raw == []


def test_bytes_that_are_no_utf8_are_read_and_written_back_unchanged(host: "MemoryHost", headers: Headers) -> None:
    host.side.maps[MapType.HTTP_REQUEST_HEADERS] = [(b"x", b"\xff\xfe caf\xc3\xa9")]
    value = headers["x"]
    assert value == "\udcff\udcfe café"
    headers["y"] = value
    assert headers.raw == [(b"x", b"\xff\xfe caf\xc3\xa9"), (b"y", b"\xff\xfe caf\xc3\xa9")]


def test_a_value_with_nul_that_the_proxy_holds_is_read(host: "MemoryHost", headers: Headers) -> None:
    host.side.maps[MapType.HTTP_REQUEST_HEADERS] = [(b"x", b"a\0b"), (b"y", b"\xff")]
    assert headers.multi_items() == [("x", "a\0b"), ("y", "\udcff")]


@given(st.lists(st.tuples(st.binary(max_size=9), st.binary(max_size=9)), max_size=9))
def test_any_map_is_read_as_text_that_stands_for_the_same_bytes(pairs: list[tuple[bytes, bytes]]) -> None:
    class Host:
        def get_header_map_value(self, map_type: int, key: bytes) -> None: ...
        def get_header_map_pairs(self, map_type: int) -> bytes:
            return encode_pairs(pairs)

    headers = Headers(cast("Hostcalls", Host()), MapType.HTTP_REQUEST_HEADERS)
    octets = [tuple(part.encode("utf-8", "surrogateescape") for part in pair) for pair in headers.multi_items()]
    assert octets == headers.raw == pairs


@pytest.mark.parametrize("value", ["a\r\nset-cookie: x", "a\n", "a\r", "a\0b", b"a\n"])
def test_a_value_that_could_split_the_message_is_refused_by_name(headers: Headers, value: str | bytes) -> None:
    with pytest.raises(ValueError, match=r"value of header 'x-note': holds NUL, CR or LF"):
        headers["x-note"] = value
    with pytest.raises(ValueError, match="x-note"):
        headers.add("x-note", value)
    with pytest.raises(ValueError, match="x-note"):
        headers.replace([("x-note", value)])
    assert "x-note" not in headers


@pytest.mark.parametrize("name", ["x\n", "x\r\ny: z", "\0", ""])
def test_a_name_that_could_split_the_message_is_refused(headers: Headers, name: str) -> None:
    with pytest.raises(ValueError, match="name of a header"):
        headers[name] = "1"
    with pytest.raises(ValueError, match="name of a header"):
        headers.discard(name)


def test_text_that_cannot_be_encoded_is_refused_by_name(headers: Headers) -> None:
    with pytest.raises(ValueError, match=r"value of header 'x': no text that can be encoded"):
        headers["x"] = "\ud800"


@pytest.mark.parametrize("value", [7, None, ["a"]])
def test_what_is_neither_text_nor_bytes_is_refused_by_name(headers: Headers, value: object) -> None:
    with pytest.raises(TypeError, match=r"value of header 'x': str or bytes, not"):
        headers["x"] = cast("str", value)


def test_more_headers_than_a_proxy_takes_are_refused_rather_than_all_dropped() -> None:
    assert len(serialize([("a", "")] * 1024)) > 1024
    with pytest.raises(ValueError, match="1025 headers of"):
        serialize([("a", "")] * 1025)
    with pytest.raises(ValueError, match="at most 1024 of 1 MiB together"):
        serialize([("a", "v" * 1024 * 1024)])


def test_a_map_that_the_proxy_no_longer_holds_says_where_it_is_offered(host: "MemoryHost") -> None:
    headers = Headers(host.hostcalls, MapType.HTTP_RESPONSE_HEADERS)
    message = r"no response headers here: the proxy offers them in on_response_headers, .* keep what is needed later"
    for use in (
        lambda: headers.get("x"),
        lambda: list(headers),
        lambda: headers.add("x", "1"),
        lambda: headers.discard("x"),
        lambda: headers.update({"x": "1"}),
        headers.clear,
    ):
        with pytest.raises(PhaseError, match=message):
            use()


def test_an_empty_map_that_the_proxy_holds_is_just_empty(host: "MemoryHost") -> None:
    host.side.maps[MapType.HTTP_REQUEST_TRAILERS] = []
    trailers = Headers(host.hostcalls, MapType.HTTP_REQUEST_TRAILERS)
    assert trailers.raw == trailers.getall("x") == trailers.multi_items() == []


def test_another_refusal_of_the_host_is_passed_on(headers: Headers, host: "MemoryHost") -> None:
    host.refused = {"get_header_map_value"}
    with pytest.raises(HostError, match="proxy_get_header_map_value: INTERNAL_FAILURE"):
        headers.get("x")


def test_the_representation_shows_no_header(headers: Headers) -> None:
    headers["authorization"] = "secret"
    assert repr(headers) == "<request headers>"
