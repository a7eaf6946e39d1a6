"""Iterators over iterators, all of them in C."""

# Anything nests in anything here.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownLambdaType=false

import itertools
from collections.abc import Callable
from csv import reader
from typing import Any

from recursion.cases import Cases, nested

cases = Cases()

ITERATORS: dict[str, Callable[[Any], Any]] = {
    "map": lambda inner: map(abs, inner),
    "filter": lambda inner: filter(None, inner),
    "zip": lambda inner: zip(inner, strict=False),
    "enumerate": enumerate,
    "iter of a call": lambda inner: iter(inner.__next__, None),
    "csv.reader": reader,
    "accumulate": itertools.accumulate,
    "batched": lambda inner: getattr(itertools, "batched")(inner, 1),  # noqa: B009 - not in Python 3.11
    "chain": itertools.chain,
    "chain.from_iterable": lambda inner: itertools.chain.from_iterable([inner]),
    "compress": lambda inner: itertools.compress(inner, inner),
    "cycle": itertools.cycle,
    "dropwhile": lambda inner: itertools.dropwhile(callable, inner),
    "filterfalse": lambda inner: itertools.filterfalse(callable, inner),
    "groupby": itertools.groupby,
    "islice": lambda inner: itertools.islice(inner, 5),
    "pairwise": itertools.pairwise,
    "starmap": lambda inner: itertools.starmap(min, inner),
    "takewhile": lambda inner: itertools.takewhile(callable, inner),
    "tee": lambda inner: itertools.tee(iter(inner.__next__, None), 1)[0],
    "zip_longest": itertools.zip_longest,
}


def first(wrap: Callable[[Any], Any]) -> object:
    return next(nested(wrap, iter([1, 2, 3])))


cases.table(RecursionError, {name: lambda wrap=wrap: first(wrap) for name, wrap in ITERATORS.items()})
cases.table(
    None,
    {
        f"deallocation of {name}": lambda wrap=wrap: bool(nested(wrap, iter([1, 2, 3])))
        for name, wrap in ITERATORS.items()
    },
)
