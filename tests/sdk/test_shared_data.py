"""What several VMs do at the same time, one step after the other."""

import pytest

from proxy_wasm import SharedData, UpdateConflictError
from proxy_wasm.abi import HostError, Status
from proxy_wasm.emulator.shared_state import SharedData as Store
from proxy_wasm.shared_data import ABSENT


class Hostcalls:
    """Those of one VM on data that it shares with others."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def get_shared_data(self, key: bytes) -> tuple[bytes, int]:
        return self._store.get(b"vm", key)

    def set_shared_data(self, key: bytes, value: bytes, cas: int) -> None:
        self._store.set(b"vm", key, value, cas)


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def ours(store: Store) -> SharedData:
    return SharedData(Hostcalls(store))  # pyright: ignore[reportArgumentType] - those that are needed


@pytest.fixture
def theirs(store: Store) -> SharedData:
    return SharedData(Hostcalls(store))  # pyright: ignore[reportArgumentType] - those that are needed


def test_keys_and_values_are_bytes_or_text(ours: SharedData) -> None:
    ours.set("key", "ä")
    assert ours.get(b"key") == "ä".encode()
    ours.set(b"key", b"\xff")
    assert ours.get("key") == b"\xff"


def test_an_absent_key_has_no_value(ours: SharedData) -> None:
    assert ours.get("key") is None
    assert ours.get_with_cas("key") == (None, ABSENT)


def test_an_update_sees_what_somebody_wrote_meanwhile(ours: SharedData, theirs: SharedData) -> None:
    ours.set("key", "1")
    seen: list[bytes | None] = []

    def add_one(value: bytes | None) -> str:
        if not seen:
            theirs.set("key", "10")
        seen.append(value)
        return str(int(value or 0) + 1)

    assert ours.update("key", add_one) == b"11"
    assert seen == [b"1", b"10"]


def test_an_update_of_an_absent_key_sees_that_somebody_created_it_meanwhile(
    ours: SharedData, theirs: SharedData
) -> None:
    seen: list[bytes | None] = []

    def add_one(value: bytes | None) -> str:
        if not seen:
            assert theirs.update("key", lambda _: b"1") == b"1"
        seen.append(value)
        return str(int(value or 0) + 1)

    assert ours.update("key", add_one) == b"2"
    assert seen == [None, b"1"]


def test_an_update_gives_up_after_so_many_attempts(ours: SharedData, theirs: SharedData) -> None:
    calls: list[bytes | None] = []

    def overtaken(value: bytes | None) -> bytes:
        calls.append(value)
        theirs.set("key", str(len(calls)))
        return b"ours"

    with pytest.raises(UpdateConflictError, match="changed by others in each of 5 attempts") as raised:
        ours.update("key", overtaken, attempts=5)
    assert len(calls) == 5
    assert ours.get("key") == b"5"
    assert (raised.value.key, raised.value.attempts) == (b"key", 5)


def test_what_the_function_raises_leaves_the_value_as_it_was(ours: SharedData) -> None:
    ours.set("key", "x")
    with pytest.raises(ZeroDivisionError):
        ours.update("key", lambda _: str(1 // 0))
    assert ours.get("key") == b"x"


@pytest.mark.parametrize("cas", [0, -1, ABSENT + 1])
def test_a_number_that_no_value_has_is_refused(ours: SharedData, cas: int) -> None:
    with pytest.raises(ValueError, match="use the number that get_with_cas gave"):
        ours.compare_and_swap("key", "x", cas)


def test_other_refusals_of_the_proxy_are_raised_as_they_are(
    ours: SharedData, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise HostError("shared_data", Status.INTERNAL_FAILURE)

    monkeypatch.setattr(store, "get", refuse)
    monkeypatch.setattr(store, "set", refuse)
    for use in (lambda: ours.get("key"), lambda: ours.set("key", "x"), lambda: ours.compare_and_swap("key", "x", 1)):
        with pytest.raises(HostError, match="INTERNAL_FAILURE"):
            use()
