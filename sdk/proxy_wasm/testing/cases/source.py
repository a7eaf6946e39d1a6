"""YAML as written: values that know their file, line and key, so that errors can name them.

Scalars are read from their text, by what is wanted where they stand: the value of a header is the text `yes` or `1.0` as written, never a
boolean or a number. Where any value may stand, as in a plugin's configuration, YAML 1.2's core rules tell what it is: only `true` and
`false` are booleans.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import yaml

from proxy_wasm.testing.cases.errors import CasesError

_QUESTION_HINT = "; within { } and [ ] a text with a ? stands in quotes"
"""What PyYAML's own parser, which stands in where libyaml is absent, does not take."""
_LOADER: type[yaml.SafeLoader | yaml.CSafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_STANDARD_TAG = "tag:yaml.org,2002:"
_PLAIN = (None, "")
"""The style of a text without quotes, in PyYAML and in libyaml."""
_NULLS = ("", "~", "null", "Null", "NULL")
_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")


@dataclass(frozen=True, slots=True)
class Value:
    """One value of a file, and where it stands."""

    node: yaml.Node
    file: Path
    path: str = ""
    """The keys that lead to it: `cases[2].request.headers`."""

    @property
    def place(self) -> str:
        """`file:line`."""
        return f"{self.file}:{self.node.start_mark.line + 1}"

    def error(self, problem: str) -> CasesError:
        """The error that something is wrong with this value."""
        return CasesError(f"{self.place}: {f'{self.path}: ' if self.path else ''}{problem}")

    @property
    def is_scalar(self) -> bool:
        return isinstance(self.node, yaml.ScalarNode)

    @property
    def is_list(self) -> bool:
        return isinstance(self.node, yaml.SequenceNode)

    @property
    def is_mapping(self) -> bool:
        return isinstance(self.node, yaml.MappingNode)

    @property
    def kind(self) -> str:
        """What it is, in words."""
        if self.is_mapping:
            return "a mapping"
        if self.is_list:
            return "a list"
        return "empty" if self.is_null else f"{self.text!r}"

    @property
    def is_null(self) -> bool:
        """Whether nothing is written, or YAML's word for it."""
        return self.is_scalar and self._is_plain and self.text in _NULLS

    @property
    def text(self) -> str:
        """A scalar's text."""
        return cast("str", self.node.value)

    @property
    def _is_plain(self) -> bool:
        return cast("yaml.ScalarNode", self.node).style in _PLAIN

    def entries(self) -> Iterator[tuple[str, "Value"]]:
        """A mapping's keys and values; a key that occurs twice is an error."""
        seen: set[str] = set()
        for key_node, node in cast("list[tuple[yaml.Node, yaml.Node]]", self.node.value):
            key = Value(key_node, self.file, self.path)
            if not key.is_scalar:
                raise key.error("a key must be text")
            name = key.text
            if name in seen:
                raise key.error(f"{name!r} stands here twice; keep one of them")
            seen.add(name)
            yield name, Value(node, self.file, f"{self.path}.{name}" if self.path else name)

    def without(self, name: str) -> "Value":
        """A mapping, but for one of its keys."""
        pairs = cast("list[tuple[yaml.Node, yaml.Node]]", self.node.value)
        kept = [(key, inner) for key, inner in pairs if key.value != name]
        node = yaml.MappingNode(self.node.tag, kept, self.node.start_mark, self.node.end_mark)
        return replace(self, node=node)

    def elements(self) -> Iterator["Value"]:
        """A list's values."""
        for number, node in enumerate(cast("list[yaml.Node]", self.node.value)):
            yield Value(node, self.file, f"{self.path}[{number}]")

    def data(self) -> Any:  # noqa: ANN401 - JSON is any of six types
        """The value as JSON has it."""
        return _data(self, ())

    def scalar_data(self) -> str | int | float | bool | None:
        """A scalar's value by the rules of YAML 1.2."""
        return self._plain_data() if self._is_plain else self.text

    def _plain_data(self) -> str | int | float | bool | None:
        text = self.text
        if text in _NULLS:
            return None
        if text in _BOOLEANS:
            return _BOOLEANS[text]
        if _INTEGER.fullmatch(text):
            return int(text, 0) if text.startswith(("0o", "0x")) else int(text)
        return float(text) if _FLOAT.fullmatch(text) else text


def _data(value: Value, around: tuple[yaml.Node, ...]) -> Any:  # noqa: ANN401 - as `Value.data`
    if value.node in around:
        raise value.error("contains itself")
    inner = (*around, value.node)
    if value.is_mapping:
        return {name: _data(entry, inner) for name, entry in value.entries()}
    if value.is_list:
        return [_data(element, inner) for element in value.elements()]
    return value.scalar_data()


def parse(text: str, file: Path) -> Value:
    """The one document in `text`; raises `CasesError` where it is no YAML, or none or several of them."""
    try:
        node = _LOADER(text).get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        hint = _QUESTION_HINT if "'?'" in str(error.problem) else ""
        raise CasesError(f"{file}{line}: is no YAML: {error.problem or error.context}{hint}") from error
    except yaml.YAMLError as error:
        raise CasesError(f"{file}: is no YAML: {error}") from error
    if node is None:
        raise CasesError(f"{file}: is empty; write 'cases:' with a list of cases")
    _refuse_tags(Value(node, file), set())
    return Value(node, file)


def _refuse_tags(value: Value, seen: set[int]) -> None:
    """YAML's own tags say nothing here, and others mean something to one program only."""
    if id(value.node) in seen:
        return
    seen.add(id(value.node))
    if not value.node.tag.startswith(_STANDARD_TAG):
        raise value.error(f"tag {value.node.tag}: is unknown; leave it out")
    if value.is_mapping:
        for _, inner in value.entries():
            _refuse_tags(inner, seen)
    elif value.is_list:
        for inner in value.elements():
            _refuse_tags(inner, seen)


_PLACEHOLDER = re.compile(r"\$(?:\$|\{([^}]*)\})")


@dataclass(slots=True)
class Row:
    """A row of a table."""

    value: Value
    columns: dict[str, Value]
    used: set[str] = field(default_factory=set[str])

    @classmethod
    def read(cls, value: Value) -> "Row":
        """The row that a mapping is."""
        return cls(value, dict(value.entries()))

    def column(self, name: str, place: Value) -> Value:
        """The value for `${name}`, which is written at `place`."""
        if name not in self.columns:
            raise place.error(
                f"${{{name}}}: the table's row has no {name!r}; it has {', '.join(self.columns) or 'nothing'}"
            )
        self.used.add(name)
        return self.columns[name]


def filled(value: Value, row: Row) -> Value:
    """`value` with the row's values in place of each `${name}`, and a `$` for each `$$`.

    Where `${name}` is all that is written, the row's value may be anything; inside a text it must be text itself. A value that is not used is
    an error.
    """
    made = replace(value, node=_filled(value, row))
    for name, column in row.columns.items():
        if name not in row.used:
            raise column.error(f"is not used; write ${{{name}}} where it belongs, or leave it out")
    return made


def _filled(value: Value, row: Row) -> yaml.Node:
    node = value.node
    if isinstance(node, yaml.MappingNode):
        pairs = cast("list[tuple[yaml.Node, yaml.Node]]", node.value)
        filled_pairs = [
            (_filled(replace(value, node=key), row), _filled(inner, row))
            for (key, _), (_, inner) in zip(pairs, value.entries(), strict=True)
        ]
        return yaml.MappingNode(node.tag, filled_pairs, node.start_mark, node.end_mark)
    if isinstance(node, yaml.SequenceNode):
        inner_nodes = [_filled(inner, row) for inner in value.elements()]
        return yaml.SequenceNode(node.tag, inner_nodes, node.start_mark, node.end_mark)
    whole = _PLACEHOLDER.fullmatch(value.text)
    if whole and whole[1] is not None:
        return row.column(whole[1], value).node

    def put(found: re.Match[str]) -> str:
        if found[1] is None:
            return "$"
        column = row.column(found[1], value)
        if not column.is_scalar:
            raise value.error(f"${{{found[1]}}} is {column.kind}; inside a text it must be text, or stand alone")
        return column.text

    scalar = cast("yaml.ScalarNode", node)
    return yaml.ScalarNode(scalar.tag, _PLACEHOLDER.sub(put, value.text), node.start_mark, node.end_mark, scalar.style)
