"""Text for the terminal: sizes, tables, and bytes from anywhere."""

from collections.abc import Iterable, Sequence

from proxy_wasm.abi.enums import LogLevel

_KIB = 1024


def size(count: int) -> str:
    """A number of bytes in the largest unit that fits it."""
    if count < _KIB:
        return f"{count} B"
    if count < _KIB * _KIB:
        return f"{count / _KIB:.1f} KiB"
    return f"{count / _KIB / _KIB:.1f} MiB"


def columns(rows: Iterable[Sequence[str]], indent: str = "  ") -> list[str]:
    """Rows as lines, with columns as wide as they need."""
    cells = [list(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        indent + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
    ]


def printable(text: str) -> str:
    """`text` as any terminal can show it: line ends and tabs stay, other control characters and stray bytes are escaped."""
    return "".join(
        character if character.isprintable() or character in "\n\t" else _escaped(character) for character in text
    )


def _escaped(character: str) -> str:
    stray = character.encode("utf-8", "surrogateescape")
    return "".join(f"\\x{byte:02x}" for byte in stray)


def log_line(level: LogLevel, message: str) -> str:
    """A log record as lines, the later ones indented under the first."""
    return f"  {level.name.lower():8}  " + printable(message.rstrip("\n")).replace("\n", "\n" + " " * 12)
