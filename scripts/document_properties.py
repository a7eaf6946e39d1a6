"""Write the tables of docs/properties.md anew from the code; `--check` only says whether they are as the code is."""

import ast
import inspect
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, cast, get_args, get_type_hints

from proxy_wasm.abi.hostcalls import Hostcalls
from proxy_wasm.properties import Properties
from proxy_wasm.properties.attribute import Attribute, Group, attributes, dotted

PAGE = Path(__file__).parents[1] / "docs" / "properties.md"
BEGIN, END = "<!-- from the code: scripts/document_properties.py -->\n", "<!-- end -->\n"


class NoHost:
    """What properties are described on, without being read."""

    def get_property(self, path: bytes) -> bytes | None:
        raise NotImplementedError(path)


def tables() -> str:
    """One table for each group, in the order of the code."""
    properties = Properties(cast("Hostcalls", NoHost()))
    return "\n".join([f"{_heading(name, group)}{_table(name, group)}" for name, group in _groups(properties)])


def _groups(properties: Properties) -> Iterator[tuple[str, Group]]:
    """The groups by name, in the order in which `Properties` makes them."""
    found = [(name, getattr(properties, name)) for name in Properties.__slots__]
    source = inspect.getsource(Properties.__init__)
    found.sort(key=lambda entry: source.find(f"self.{entry[0]} ="))
    yield "", properties
    yield from ((name, group) for name, group in found if isinstance(group, Group))


def _heading(name: str, group: Group) -> str:
    summary = (type(group).__doc__ or "").strip().partition("\n")[0]
    return f"### {name}\n\n{summary}\n\n" if name else ""


def _table(name: str, group: Group) -> str:
    lines = ["| `self.properties` | type | | available | Envoy |", "|---|---|---|---|---|"]
    documentation = _documentation(type(group))
    for attribute_name, attribute in attributes(group).items():
        python = f"{name}.{attribute_name}".lstrip(".")
        cells = (
            f"`{python}`",
            f"`{_type(attribute)}`",
            documentation[attribute_name],
            attribute.available,
            f"`{dotted(group.prefix + attribute.path)}`",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _type(attribute: Attribute[Any]) -> str:
    """The type of its values, `None` aside."""
    returned = get_type_hints(attribute.decode)["return"]
    if not isinstance(returned, UnionType):
        return _name(returned)
    (kind,) = [part for part in get_args(returned) if part is not NoneType]
    return _name(kind)


def _name(kind: Any) -> str:  # noqa: ANN401 - a type, or an alias of one
    return str(kind) if get_args(kind) else kind.__name__


def _documentation(group: type[Group]) -> dict[str, str]:
    """The docstrings under the attributes of a class and of those that it derives from."""
    found: dict[str, str] = {}
    for owner in group.__mro__:
        if owner is object:
            continue
        (parsed,) = ast.parse(inspect.getsource(owner)).body
        body = cast("ast.ClassDef", parsed).body
        for statement, following in pairwise(body):
            match statement, following:
                case (
                    ast.Assign(targets=[ast.Name(id=name)]),
                    ast.Expr(value=ast.Constant(value=str(text))),
                ):
                    found.setdefault(name, " ".join(text.split()))
                case _:
                    pass
    return found


def main() -> int:
    page = PAGE.read_text("utf-8")
    before, _, rest = page.partition(BEGIN)
    current, _, after = rest.partition(END)
    if current == tables():
        return 0
    if "--check" in sys.argv[1:]:
        print(f"{PAGE.name} is not as the code is: run `python scripts/{Path(__file__).name}`")
        return 1
    PAGE.write_text(f"{before}{BEGIN}{tables()}{END}{after}", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
