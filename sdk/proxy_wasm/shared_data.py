"""Shared data: values by key, which the proxy keeps for all VMs with the same `vm_id` in one proxy process, whichever thread they run in.

The proxy tells each value's number, its `cas`: another one after every change. Writing with the number that was read refuses to overwrite what somebody
else wrote meanwhile. For a key that is absent the proxy accepts any number (proxy-wasm-cpp-host, `shared_data.cc`), and 0 overwrites whatever is there. So
creating a key says a number, `ABSENT`, that no value has: the first of several creators succeeds, the others see a mismatch.
"""

from collections.abc import Callable

from proxy_wasm.abi.enums import Status
from proxy_wasm.abi.hostcalls import Hostcalls, HostError
from proxy_wasm.body import Data, octets
from proxy_wasm.errors import UpdateConflictError

ABSENT = 0xFFFF_FFFF
"""The `cas` of a key that is absent: writing with it creates the key, or fails because somebody else did.

The numbers of values count up from 1, over all keys of a process: one in four billion changes gets this one.
"""


class SharedData:
    """The values that VMs with the same `vm_id` share; reached as `shared_data` of plugins and streams, in every callback.

    Keys and values are bytes, or text, written as UTF-8. A value is there until the last VM with its `vm_id` is gone; there is no way to
    remove or to list keys. Filters that name no `vm_id` have all the same: prefix keys with the filter's name.
    """

    __slots__ = ("_hostcalls",)

    def __init__(self, hostcalls: Hostcalls) -> None:
        self._hostcalls = hostcalls

    def get(self, key: Data, /) -> bytes | None:
        """The value; `None` where the key is absent."""
        return self.get_with_cas(key)[0]

    def get_with_cas(self, key: Data, /) -> tuple[bytes | None, int]:
        """The value and its number, for `compare_and_swap`; `None` and `ABSENT` where the key is absent."""
        try:
            return self._hostcalls.get_shared_data(octets(key))
        except HostError as error:
            if error.status is Status.NOT_FOUND:
                return None, ABSENT
            raise

    def set(self, key: Data, value: Data, /) -> None:
        """Write `value`, whatever others wrote."""
        self._hostcalls.set_shared_data(octets(key), octets(value), 0)

    def compare_and_swap(self, key: Data, value: Data, cas: int, /) -> bool:
        """Write `value` unless the key was changed, or created, since `get_with_cas` gave `cas`; whether it was written.

        Raises `ValueError` for a `cas` that `get_with_cas` does not give; 0, which the proxy takes for "whatever is there", is one.
        """
        if not 0 < cas <= ABSENT:
            msg = f"cas {cas}: use the number that get_with_cas gave, or set() to write whatever is there"
            raise ValueError(msg)
        try:
            self._hostcalls.set_shared_data(octets(key), octets(value), cas)
        except HostError as error:
            if error.status is Status.CAS_MISMATCH:
                return False
            raise
        return True

    def update(self, key: Data, function: Callable[[bytes | None], Data], /, *, attempts: int = 100) -> bytes:
        """Write what `function` makes of the value (`None` where the key is absent), and return what was written.

        Nothing that others write is lost: where the value changed meanwhile, `function` is called again, with the new one. So it should be quick, and have
        no other effect. Raises `UpdateConflictError` where the value changed in each of `attempts`, and what `function` raises.
        """
        for _ in range(attempts):
            value, cas = self.get_with_cas(key)
            updated = octets(function(value))
            if self.compare_and_swap(key, updated, cas):
                return updated
        raise UpdateConflictError(octets(key), attempts)
