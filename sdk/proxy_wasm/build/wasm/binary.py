"""The primitives of the WebAssembly binary format: LEB128 integers, names, vectors.

Source: WebAssembly Core Specification 2.0, section 5.2 ("Values") and 5.5.2 ("Sections").
"""

from collections.abc import Iterable

from proxy_wasm.build.errors import BuildError


class MalformedError(BuildError):
    """Bytes that are no valid WebAssembly.

    `section` names the part that was being read (`"code section"`, `"core module 4, import section"`), `offset` is the position
    in the file at which reading it failed.
    """

    def __init__(self, section: str, offset: int, problem: str) -> None:
        self.section = section
        self.offset = offset
        self.problem = problem
        super().__init__(f"{section}, offset {offset:#x}: {problem}")


_MAX_LEB_BYTES = {32: 5, 33: 5, 64: 10}


class Reader:
    """Reads primitives one after the other from `data[position:end]`.

    Every method raises `MalformedError` where the bytes end too early or encode no such value.
    """

    __slots__ = ("data", "end", "position", "section")

    def __init__(self, data: bytes, section: str, position: int = 0, end: int | None = None) -> None:
        self.data = data
        self.section = section
        self.position = position
        self.end = len(data) if end is None else end

    def error(self, problem: str, position: int | None = None) -> MalformedError:
        """A `MalformedError` at `position`, or where the reader stands."""
        return MalformedError(self.section, self.position if position is None else position, problem)

    @property
    def at_end(self) -> bool:
        """Whether nothing is left to read."""
        return self.position >= self.end

    def require_end(self) -> None:
        """Refuse bytes left over."""
        if self.position != self.end:
            raise self.error(f"{self.end - self.position} bytes are left over")

    def u8(self) -> int:
        """One byte."""
        position = self.position
        if position >= self.end:
            raise self.error("ends too early")
        self.position = position + 1
        return self.data[position]

    def peek(self) -> int:
        """The next byte, which stays unread."""
        if self.position >= self.end:
            raise self.error("ends too early")
        return self.data[self.position]

    def u32(self) -> int:
        """An unsigned LEB128 integer of at most 32 bits."""
        position = self.position
        if position < self.end and (byte := self.data[position]) < _CONTINUATION:
            self.position = position + 1
            return byte
        return self._leb(32, signed=False)

    def s32(self) -> int:
        """A signed LEB128 integer of at most 32 bits."""
        return self._leb(32, signed=True)

    def s33(self) -> int:
        """A signed LEB128 integer of at most 33 bits, as block and component value types use."""
        return self._leb(33, signed=True)

    def s64(self) -> int:
        """A signed LEB128 integer of at most 64 bits."""
        return self._leb(64, signed=True)

    def _leb(self, bits: int, *, signed: bool) -> int:
        start = self.position
        value = shift = 0
        for _ in range(_MAX_LEB_BYTES[bits]):
            byte = self.u8()
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < _CONTINUATION:
                break
        else:
            raise self.error(f"an integer is longer than {bits} bits", start)
        if signed and value >> (shift - 1):
            value -= 1 << shift
        low, high = (-(1 << (bits - 1)), 1 << (bits - 1)) if signed else (0, 1 << bits)
        if not low <= value < high:
            raise self.error(f"an integer is longer than {bits} bits", start)
        return value

    def bytes(self, size: int) -> bytes:
        """The next `size` bytes."""
        start = self.position
        if size > self.end - start:
            raise self.error(f"{size} bytes are announced, {self.end - start} are left")
        self.position = start + size
        return self.data[start : start + size]

    def span(self, size: int) -> tuple[int, int]:
        """The bounds of the next `size` bytes, which are skipped, not copied."""
        start = self.position
        if size > self.end - start:
            raise self.error(f"{size} bytes are announced, {self.end - start} are left")
        self.position = start + size
        return start, start + size

    def name(self) -> str:
        """A UTF-8 name with its size in front."""
        start = self.position
        raw = self.bytes(self.u32())
        try:
            return raw.decode()
        except UnicodeDecodeError as error:
            raise self.error("a name is not UTF-8", start) from error

    def count(self) -> int:
        """The length of a vector; one that cannot fit into what is left is refused."""
        start = self.position
        count = self.u32()
        if count > self.end - self.position:
            raise self.error(f"{count} entries are announced, {self.end - self.position} bytes are left", start)
        return count

    def sub(self, size: int, section: str) -> "Reader":
        """A reader of the next `size` bytes, which this reader skips."""
        start, end = self.span(size)
        return Reader(self.data, section, start, end)


_CONTINUATION = 0x80


def u32(value: int) -> bytes:
    """`value` as unsigned LEB128; it must not be negative."""
    if value < _CONTINUATION:
        return _SHORT[value]
    encoded = bytearray()
    while value >= _CONTINUATION:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


_SHORT = [bytes([value]) for value in range(_CONTINUATION)]


def signed(value: int) -> bytes:
    """`value` as signed LEB128."""
    encoded = bytearray()
    while not -64 <= value < 64:  # noqa: PLR2004 - what seven bits hold
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value & 0x7F)
    return bytes(encoded)


def name(text: str) -> bytes:
    """A name with its size in front."""
    encoded = text.encode()
    return u32(len(encoded)) + encoded


def vector(items: Iterable[bytes]) -> bytes:
    """Encoded `items` with their number in front."""
    parts = list(items)
    return u32(len(parts)) + b"".join(parts)


def section(identifier: int, *parts: bytes) -> bytes:
    """A section: its id, its size, its contents."""
    return b"".join([bytes([identifier]), u32(sum(map(len, parts))), *parts])


def custom_section(title: str, contents: bytes) -> bytes:
    """A custom section."""
    return section(0, name(title), contents)
