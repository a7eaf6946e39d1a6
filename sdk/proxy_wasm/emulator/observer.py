"""What crosses the boundary between host and guest, told to whoever wants to know: a test's judge, a recorder of traces.

Each callback is `entered` and `left`, each hostcall `called` and `answered`, in the order in which they happen: hostcalls within
callbacks, and where a hostcall calls the guest back, a callback within a hostcall.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from proxy_wasm.abi.enums import Status
from proxy_wasm.abi.hostcalls import HostError
from proxy_wasm.abi.signatures import HOSTCALLS


@dataclass(frozen=True, slots=True)
class Unseen:
    """Bytes of which a host tells no more than how many there are."""

    size: int


Arguments: TypeAlias = "tuple[int | bytes | Unseen, ...]"
Results: TypeAlias = "int | bytes | tuple[int | bytes, ...] | None"
"""What a hostcall of `Hostcalls` returns."""


class Observer(Protocol):
    """Hears of what crosses the boundary of one VM. It must not raise."""

    def entered(self, callback: str, arguments: tuple[int, ...]) -> None:
        """The host calls the guest's `on_...`."""
        ...

    def left(self, callback: str, returned: int | None) -> None:
        """The guest returns, from a callback without a result with 0; `None` where it trapped."""
        ...

    def called(self, hostcall: str, arguments: Arguments) -> None:
        """The guest makes a hostcall, named without `proxy_`."""
        ...

    def answered(self, hostcall: str, status: int, results: Results) -> None:
        """The host answers; `results` are those of `Hostcalls`, `None` where there are none."""
        ...


class ObservedHostcalls:
    """`Hostcalls` of a native guest that tell `observers` of each call."""

    def __init__(self, hostcalls: object, observers: Sequence[Observer]) -> None:
        for hostcall in HOSTCALLS.values():
            method: Callable[..., Results] = getattr(hostcalls, hostcall.name)
            setattr(self, hostcall.name, observed(hostcall.name, method, bool(hostcall.results), observers))


def observed(
    name: str, call: Callable[..., Results], may_find_nothing: bool, observers: Sequence[Observer]
) -> Callable[..., Results]:
    """`call`, told to `observers`. Where `may_find_nothing`, `None` stands for `NOT_FOUND`."""

    def run(*arguments: int | bytes) -> Results:
        for observer in observers:
            observer.called(name, arguments)
        status, results = int(Status.INTERNAL_FAILURE), None
        try:
            results = call(*arguments)
            status = int(Status.NOT_FOUND if may_find_nothing and results is None else Status.OK)
        except HostError as error:
            status = int(error.status)
            raise
        finally:
            for observer in observers:
                observer.answered(name, status, results)
        return results

    return run
