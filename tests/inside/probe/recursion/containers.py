"""Containers in containers: made, shown, compared, hashed, copied, serialized, deallocated."""

# Anything nests in anything here, and does what no program should.
# ruff: noqa: ANN401, FURB171, PLW0108, S301, S302, UP031

import collections
import copy
import gc
import json
import marshal
import pickle
import types
import weakref
from dataclasses import dataclass
from typing import Any, NamedTuple

from recursion.cases import CHAINED, DEEP, Cases, nested

cases = Cases()


class Node:
    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __repr__(self) -> str:
        return repr(self.inner)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Node) and self.inner == other.inner

    def __hash__(self) -> int:
        return hash(self.inner)


@dataclass
class Data:
    inner: Any


class Named(NamedTuple):
    inner: Any


def lists(depth: int = DEEP) -> Any:
    return nested(lambda inner: [inner], [], depth)


def tuples(depth: int = DEEP) -> Any:
    return nested(lambda inner: (inner,), (), depth)


def dicts(depth: int = DEEP) -> Any:
    return nested(lambda inner: {"a": inner}, {}, depth)


def instances(depth: int = DEEP) -> Any:
    return nested(Node, None, depth)


def deques() -> Any:
    return nested(lambda inner: collections.deque([inner]), None, CHAINED // 4)


def ordered_dicts() -> Any:
    return nested(lambda inner: collections.OrderedDict[str, Any](a=inner), None)


def frozensets() -> Any:
    return nested(lambda inner: frozenset([inner]), frozenset[Any]())


def slices() -> Any:
    return nested(lambda inner: slice(inner), None)


def namespaces() -> Any:
    return nested(lambda inner: types.SimpleNamespace(a=inner), None)


def hash_of_weak_references() -> int:
    kept = [Node(None)]
    for _ in range(CHAINED):
        kept.append(Node(weakref.ref(kept[-1])))
    return hash(kept[-1])


def cyclic_lists() -> None:
    deep = lists()
    deep.append(deep)
    del deep
    gc.collect()


cases.table(
    None,
    {
        "json.loads of 1000 arrays": lambda: json.loads("[" * 1000 + "]" * 1000),
        "json.loads of 1000 objects": lambda: json.loads('{"a":' * 1000 + "1" + "}" * 1000),
        "json.loads of 1000 objects in arrays": lambda: json.loads('[{"a":' * 500 + "1" + "}]" * 500),
        "json.dumps of 1000 lists": lambda: json.dumps(lists(1000)),
        "json.dumps of 1000 dicts": lambda: json.dumps(dicts(1000)),
        "json.dumps of 1000 dicts in lists": lambda: json.dumps(nested(lambda inner: [{"a": inner}], 1, 500)),
        "deallocation of lists": lambda: len(lists()),
        "deallocation of tuples": lambda: len(tuples()),
        "deallocation of dicts": lambda: len(dicts()),
        "deallocation of instances": lambda: bool(instances()),
        "deallocation of mixed containers": lambda: len(nested(lambda inner: [({"a": inner},)], [])),
        "deallocation of frozensets": lambda: len(frozensets()),
        "deallocation of deques": lambda: len(deques()),
        "deallocation of ordered dicts": lambda: len(ordered_dicts()),
        "deallocation of namespaces": lambda: bool(namespaces()),
        "deallocation of closures": lambda: bool(nested(lambda inner: lambda: inner, None)),
        "collection of lists in a cycle": cyclic_lists,
        "unpickling of lists": lambda: len(pickle.loads(b"(" * DEEP + b"l" * DEEP + b".")),
        "unpickling of tuples": lambda: len(pickle.loads(b")" + b"\x85" * DEEP + b".")),
    },
)
cases.table(
    RecursionError,
    {
        "json.loads of arrays": lambda: json.loads("[" * DEEP),
        "json.loads of closed arrays": lambda: json.loads("[" * DEEP + "]" * DEEP),
        "json.loads of objects": lambda: json.loads('{"a":' * DEEP),
        "json.loads of objects in arrays": lambda: json.loads('[{"a":' * (DEEP // 2)),
        "json.loads of arrays in objects": lambda: json.loads('{"a":[' * (DEEP // 2), object_pairs_hook=list),
        "json.dumps of lists": lambda: json.dumps(lists()),
        "json.dumps of tuples": lambda: json.dumps(tuples(), indent=1),
        "json.dumps of dicts": lambda: json.dumps(dicts(), sort_keys=True),
        "json.dumps of what its default makes": lambda: json.dumps(object(), default=lambda _: [object()]),
        "repr of lists": lambda: repr(lists()),
        "repr of tuples": lambda: repr(tuples()),
        "repr of dicts": lambda: repr(dicts()),
        "repr of instances": lambda: repr(instances()),
        "repr of deques": lambda: repr(deques()),
        "repr of ordered dicts": lambda: repr(ordered_dicts()),
        "repr of frozensets": lambda: repr(frozensets()),
        "repr of slices": lambda: repr(slices()),
        "repr of namespaces": lambda: repr(namespaces()),
        "repr of dataclasses": lambda: repr(nested(Data, None)),
        "repr of named tuples": lambda: repr(nested(Named, None)),
        "repr of dict views": lambda: repr(nested(lambda inner: {1: inner}.values(), None)),
        "ascii of lists": lambda: ascii(lists()),
        "lists in a formatted text": lambda: "%s" % (lists(),),
        "lists in an f-string": lambda: f"{lists()!r:>10}",
        "equality of lists": lambda: lists() == lists(),
        "equality of tuples": lambda: tuples() == tuples(),
        "equality of dicts": lambda: dicts() == dicts(),
        "equality of instances": lambda: instances() == instances(),
        "equality of deques": lambda: deques() == deques(),
        "equality of slices": lambda: slices() == slices(),
        "equality of namespaces": lambda: namespaces() == namespaces(),
        "equality of dataclasses": lambda: nested(Data, None) == nested(Data, None),
        "order of lists": lambda: lists() < lists(),
        "order of tuples": lambda: sorted([tuples(), tuples()]),
        "lists searched in a list": lambda: lists() in [lists()],
        "hash of tuples": lambda: hash(tuples()),
        "hash of instances": lambda: hash(instances()),
        "hash of named tuples": lambda: hash(nested(Named, None)),
        "hash of slices": lambda: hash(slices()),
        "hash of generic aliases": lambda: hash(nested(lambda inner: types.GenericAlias(list, inner), int)),
        "hash of weak references": hash_of_weak_references,
        "tuples as keys": lambda: {tuples(): 1},
        "copy.deepcopy of lists": lambda: copy.deepcopy(lists()),
        "copy.deepcopy of tuples": lambda: copy.deepcopy(tuples()),
        "copy.deepcopy of dicts": lambda: copy.deepcopy(dicts()),
        "copy.deepcopy of instances": lambda: copy.deepcopy(instances()),
        "pickling of lists": lambda: pickle.dumps(lists()),
        "pickling of tuples": lambda: pickle.dumps(tuples()),
        "pickling of dicts": lambda: pickle.dumps(dicts()),
        "pickling of instances": lambda: pickle.dumps(instances()),
    },
)
cases.table(
    ValueError,
    {
        "marshalling of lists": lambda: marshal.dumps(lists()),
    },
)
cases.table(
    RecursionError,
    {
        "unmarshalling of lists": lambda: marshal.loads(b"[\x01\0\0\0" * DEEP),
    },
)
