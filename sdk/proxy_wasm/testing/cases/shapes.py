"""What may stand where in a file of cases: each shape reads a value, or says what is wrong with it, and describes itself for editors."""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from proxy_wasm.testing.cases.source import Value

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
S = TypeVar("S")
Json = dict[str, Any]
_BOOLEANS: dict[str, bool] = {"true": True, "false": False}
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")


class Shape(ABC, Generic[T_co]):
    """What values of one kind look like."""

    @abstractmethod
    def read(self, value: Value) -> T_co:
        """What the value means; raises `CasesError` where it means nothing."""

    @abstractmethod
    def schema(self, definitions: dict[str, Json]) -> Json:
        """The JSON schema; what is used in several places goes into `definitions`."""

    def mapped(self, make: Callable[[T_co], S]) -> "Shape[S]":
        """The same shape, of which something else is made."""
        return _Mapped(self, make)


class _Mapped(Shape[S]):
    def __init__(self, shape: Shape[T], make: Callable[[T], S]) -> None:
        def read(value: Value) -> S:
            read = shape.read(value)
            return _made(value, lambda: make(read))

        self._read = read
        self._schema = shape.schema

    def read(self, value: Value) -> S:
        return self._read(value)

    def schema(self, definitions: dict[str, Json]) -> Json:
        return self._schema(definitions)


def _made(value: Value, make: Callable[[], S]) -> S:
    """What `make` returns; a `ValueError` of it is one of the value."""
    try:
        return make()
    except ValueError as error:
        raise value.error(str(error)) from error


_COLUMN: Json = {"type": "string", "pattern": r"^\$\{[^}]+\}$"}


def _inner(shape: Shape[Any], definitions: dict[str, Json]) -> Json:
    """The schema of a part, in whose place the `${column}` of a table may stand."""
    schema = shape.schema(definitions)
    if not schema or "string" in schema.get("type", ()):
        return schema
    definitions["column"] = _COLUMN
    return {"anyOf": [schema, {"$ref": "#/$defs/column"}]}


def _whole(shape: Shape[Any], definitions: dict[str, Json]) -> Json:
    return shape.schema(definitions)


class _Leaf(Shape[T]):
    """A shape that has no others in it."""

    def schema(self, definitions: dict[str, Json]) -> Json:  # noqa: ARG002 - there is nothing to refer to
        return self.described()

    @abstractmethod
    def described(self) -> Json:
        """The JSON schema."""


class Text(_Leaf[str]):
    """A scalar, as it is written."""

    def read(self, value: Value) -> str:
        if not value.is_scalar:
            raise value.error(f"must be text, is {value.kind}")
        if value.is_null:
            raise value.error("is empty; write '' for an empty text")
        return value.text

    def described(self) -> Json:
        return {"type": ["string", "number", "boolean"]}


class Number(_Leaf[float]):
    """A number that is not negative."""

    def __init__(self, what: str) -> None:
        self._what = what

    def read(self, value: Value) -> float:
        if not value.is_scalar or not _NUMBER.fullmatch(value.text) or float(value.text) < 0:
            raise value.error(f"must be {self._what}, is {value.kind}")
        return float(value.text)

    def described(self) -> Json:
        return {"type": "number", "minimum": 0}


class Integer(_Leaf[int]):
    """A whole number within limits."""

    def __init__(self, what: str, minimum: int, maximum: int) -> None:
        self._what = what
        self._minimum = minimum
        self._maximum = maximum

    def read(self, value: Value) -> int:
        if value.is_scalar and re.fullmatch(r"-?[0-9]{1,20}", value.text):
            number = int(value.text)
            if self._minimum <= number <= self._maximum:
                return number
        raise value.error(f"must be {self._what}, is {value.kind}")

    def described(self) -> Json:
        return {"type": "integer", "minimum": self._minimum, "maximum": self._maximum}


class Flag(_Leaf[bool]):
    """`true` or `false`."""

    def read(self, value: Value) -> bool:
        if value.is_scalar and value.text in _BOOLEANS:
            return _BOOLEANS[value.text]
        raise value.error(f"must be true or false, is {value.kind}")

    def described(self) -> Json:
        return {"type": "boolean"}


class OneOf(_Leaf[T]):
    """One of a few words, each of which stands for something."""

    def __init__(self, words: Mapping[str, T]) -> None:
        self._words = words

    def read(self, value: Value) -> T:
        if value.is_scalar and value.text in self._words:
            return self._words[value.text]
        raise value.error(f"must be {_alternatives(self._words)}, is {value.kind}")

    def described(self) -> Json:
        return {"enum": [_BOOLEANS.get(word, word) for word in self._words]}


def _alternatives(words: Mapping[str, object]) -> str:
    *others, last = words
    return f"{', '.join(others)} or {last}" if others else last


class Data(_Leaf[Any]):
    """Anything that JSON can say."""

    def read(self, value: Value) -> Any:  # noqa: ANN401 - JSON is any of six types
        return value.data()

    def described(self) -> Json:
        return {}


class ListOf(Shape[tuple[T, ...]]):
    """A list whose values have one shape."""

    def __init__(self, shape: Shape[T]) -> None:
        self._shape = shape

    def read(self, value: Value) -> tuple[T, ...]:
        if not value.is_list:
            raise value.error(f"must be a list, is {value.kind}")
        return tuple(self._shape.read(element) for element in value.elements())

    def schema(self, definitions: dict[str, Json]) -> Json:
        return {"type": "array", "items": _inner(self._shape, definitions)}


class MapOf(Shape[dict[str, T]]):
    """A mapping with keys of the author's choice."""

    def __init__(self, shape: Shape[T]) -> None:
        self._shape = shape

    def read(self, value: Value) -> dict[str, T]:
        if not value.is_mapping:
            raise value.error(f"must be a mapping, is {value.kind}")
        return {name: self._shape.read(inner) for name, inner in value.entries()}

    def schema(self, definitions: dict[str, Json]) -> Json:
        return {"type": "object", "additionalProperties": _inner(self._shape, definitions)}


@dataclass(frozen=True, slots=True)
class Key:
    """A key of a record."""

    shape: Shape[Any]
    about: str
    """What it is for, as editors show it."""
    required: bool = False


class Record(Shape[T]):
    """A mapping with known keys, from which something is made: `make` gets them by name.

    It may raise `ValueError`, to which the record's place is added.
    """

    def __init__(self, make: Callable[..., T], keys: Mapping[str, Key], *, columns: bool = True) -> None:
        self._make = make
        self._keys = keys
        self._columns = columns
        """Whether it may be a part of a table's case."""

    def read(self, value: Value) -> T:
        if not value.is_mapping:
            raise value.error(f"must be a mapping with {', '.join(self._keys)}; is {value.kind}")
        read: dict[str, Any] = {}
        for name, inner in value.entries():
            if name not in self._keys:
                raise inner.error(f"there is no such key; there are {', '.join(self._keys)}")
            read[_identifier(name)] = self._keys[name].shape.read(inner)
        for name, key in self._keys.items():
            if key.required and _identifier(name) not in read:
                raise value.error(f"needs {name!r}: {key.about}")
        return _made(value, lambda: self._make(**read))

    def schema(self, definitions: dict[str, Json]) -> Json:
        described = _inner if self._columns else _whole
        properties = {
            name: {**described(key.shape, definitions), "description": key.about} for name, key in self._keys.items()
        }
        schema: Json = {"type": "object", "properties": properties, "additionalProperties": False}
        required = [name for name, key in self._keys.items() if key.required]
        return {**schema, "required": required} if required else schema


def _identifier(name: str) -> str:
    return f"{name}_" if name == "not" else name


class Single(Shape[T]):
    """A mapping with one key, and what stands for it."""

    def __init__(self, name: str, shape: Shape[T], about: str) -> None:
        self._name = name
        self._record = Record(dict[str, T], {name: Key(shape, about, required=True)})

    def read(self, value: Value) -> T:
        return self._record.read(value)[self._name]

    def schema(self, definitions: dict[str, Json]) -> Json:
        return self._record.schema(definitions)


class Variants(Shape[T]):
    """One shape for a text, others for a list or a mapping; what is left out may not stand here."""

    def __init__(
        self,
        *,
        text: Shape[T] | None = None,
        items: Shape[T] | None = None,
        mapping: Shape[T] | None = None,
    ) -> None:
        self._kinds = {"text": text, "a list": items, "a mapping": mapping}

    def read(self, value: Value) -> T:
        kind = "a mapping" if value.is_mapping else "a list" if value.is_list else "text"
        shape = self._kinds[kind]
        if shape is None:
            allowed = " or ".join(kind for kind, shape in self._kinds.items() if shape is not None)
            raise value.error(f"must be {allowed}, is {value.kind}")
        return shape.read(value)

    def schema(self, definitions: dict[str, Json]) -> Json:
        return {"anyOf": [shape.schema(definitions) for shape in self._kinds.values() if shape is not None]}


class ByKey(Shape[T]):
    """A mapping of which one key tells which of several records it is; the first that is found."""

    def __init__(self, records: Mapping[str, Shape[T]]) -> None:
        self._records = records

    def read(self, value: Value) -> T:
        if not value.is_mapping:
            raise value.error(f"must be a mapping with one of {', '.join(self._records)}; is {value.kind}")
        names = {name for name, _ in value.entries()}
        for name, shape in self._records.items():
            if name in names:
                return shape.read(value)
        raise value.error(f"needs one of {', '.join(self._records)}")

    def schema(self, definitions: dict[str, Json]) -> Json:
        different = list(dict.fromkeys(self._records.values()))
        return {"anyOf": [shape.schema(definitions) for shape in different]}


class Named(Shape[T]):
    """A shape that occurs in several places, or in itself."""

    def __init__(self, name: str, make: Callable[[], Shape[T]]) -> None:
        self._name = name
        self._make = make
        self._made: Shape[T] | None = None

    def _shape(self) -> Shape[T]:
        if self._made is None:
            self._made = self._make()
        return self._made

    def read(self, value: Value) -> T:
        return self._shape().read(value)

    def schema(self, definitions: dict[str, Json]) -> Json:
        if self._name not in definitions:
            definitions[self._name] = {}
            definitions[self._name] = self._shape().schema(definitions)
        return {"$ref": f"#/$defs/{self._name}"}
