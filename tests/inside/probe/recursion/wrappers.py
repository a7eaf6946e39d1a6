"""Objects that pass on to another, which passes on to another, ..., most of them in C."""

# Anything nests in anything here, and does what no program should.
# ruff: noqa: ANN401, PLW0108, RUF005
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownLambdaType=false

import collections
import functools
import io
import operator
import pickle
import types
import weakref
from collections.abc import Iterator
from typing import Any

from recursion.cases import Cases, nested

cases = Cases()


def partial_with_an_attribute(inner: Any) -> Any:
    """A partial object that is not merged with the one inside."""
    made: Any = functools.partial(inner)
    made.attribute = 1
    return made


class Forwarding:
    """Passes on to a weak proxy."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.proxy: Any = weakref.proxy(inner) if isinstance(inner, Forwarding) else inner

    def __getattr__(self, name: str) -> object:
        return getattr(self.proxy, name)

    def __len__(self) -> int:
        return len(self.proxy)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.proxy)

    def __contains__(self, item: object) -> bool:
        return item in self.proxy

    def __getitem__(self, key: object) -> object:
        return self.proxy[key]

    def __add__(self, other: object) -> object:
        return self.proxy + other

    def __call__(self) -> object:
        return self.proxy()


def weak_proxies() -> Any:
    return nested(Forwarding, [])


def mapping_proxies() -> Any:
    return nested(types.MappingProxyType, {})


def chain_maps() -> Any:
    return nested(collections.ChainMap, {})


def generic_aliases() -> Any:
    return nested(lambda inner: types.GenericAlias(inner, int), list)


def arguments() -> Any:
    return nested(lambda inner: types.GenericAlias(list, inner), int)


def bound_methods() -> Any:
    return nested(lambda inner: types.MethodType(inner, 1), print)


def partials() -> Any:
    return nested(partial_with_an_attribute, int)


def method_wrappers() -> Any:
    return nested(lambda inner: inner.__call__, int)


def method_callers() -> Any:
    return nested(lambda inner: operator.methodcaller("__call__", inner), 1)


def keys() -> Any:
    return nested(functools.cmp_to_key(operator.lt), 1)


def classes() -> Any:
    return nested(lambda inner: (inner,), int)


def buffered_readers() -> Any:
    return nested(lambda inner: io.BufferedReader(inner, 1), io.BytesIO(), 2_000)


cases.table(
    RecursionError,
    {
        "bound methods called": lambda: bound_methods()(),
        "bound methods asked for an attribute": lambda: bound_methods().attribute,
        "partials called": lambda: partials()(),
        "partials shown": lambda: repr(partials()),
        "cached functions called": lambda: nested(functools.lru_cache, int)(),
        "uncached functions called": lambda: nested(functools.lru_cache(maxsize=0), int)(),
        "static methods called": lambda: nested(staticmethod, int)(),
        "method wrappers called": lambda: method_wrappers()(),
        "keys compared": lambda: keys() < keys(),
        "instance checks": lambda: isinstance("", classes()),
        "subclass checks": lambda: issubclass(str, classes()),
        "mapping proxies asked": lambda: mapping_proxies().get(1),
        "mapping proxies subscripted": lambda: mapping_proxies()[1],
        "mapping proxies measured": lambda: len(mapping_proxies()),
        "mapping proxies searched": lambda: 1 in mapping_proxies(),
        "mapping proxies iterated": lambda: list(mapping_proxies()),
        "mapping proxies reversed": lambda: reversed(mapping_proxies()),
        "mapping proxies compared": lambda: mapping_proxies() == mapping_proxies(),
        "mapping proxies merged": lambda: mapping_proxies() | {},
        "mapping proxies copied": lambda: mapping_proxies().copy(),
        "mapping proxies hashed": lambda: hash(mapping_proxies()),
        "mapping proxies shown": lambda: repr(mapping_proxies()),
        "chain maps asked": lambda: chain_maps().get(1),
        "chain maps measured": lambda: len(chain_maps()),
        "chain maps shown": lambda: repr(chain_maps()),
        "weak proxies asked for an attribute": lambda: weak_proxies().attribute,
        "weak proxies measured": lambda: len(weak_proxies()),
        "weak proxies iterated": lambda: list(weak_proxies()),
        "weak proxies searched": lambda: 1 in weak_proxies(),
        "weak proxies subscripted": lambda: weak_proxies()[1],
        "weak proxies added": lambda: weak_proxies() + [],
        "weak proxies called": lambda: weak_proxies()(),
        "generic aliases called": lambda: generic_aliases()(),
        "generic aliases asked for an attribute": lambda: generic_aliases().attribute,
        "generic aliases shown": lambda: repr(generic_aliases()),
        "arguments of generic aliases shown": lambda: repr(arguments()),
        "arguments of generic aliases asked for parameters": lambda: arguments().__parameters__,
        "lists in a generic alias": lambda: types.GenericAlias(list, nested(lambda inner: [inner], int)).__parameters__,
        "buffered readers": lambda: buffered_readers().closed,
    },
)
cases.table(
    None,
    {
        "generic aliases iterated": lambda: list(generic_aliases()),
        "picklable buffers": lambda: nested(pickle.PickleBuffer, b"bytes").raw().tobytes(),
        "memory views": lambda: nested(memoryview, b"bytes").tobytes(),
        "deallocation of bound methods": lambda: bool(bound_methods()),
        "deallocation of partials": lambda: bool(partials()),
        "deallocation of method wrappers": lambda: bool(method_wrappers()),
        "deallocation of method callers": lambda: bool(method_callers()),
        "deallocation of keys": lambda: keys() is None,
        "deallocation of generic aliases": lambda: generic_aliases() is None,
        "deallocation of arguments of generic aliases": lambda: arguments() is None,
        "deallocation of weak proxies": lambda: weak_proxies() is None,
        "deallocation of mapping proxies": lambda: mapping_proxies() is None,
    },
)
