"""Methods that call themselves through what calls them."""

# Anything nests in anything here, and does what no program should.
# ruff: noqa: ANN401, PLR0124, PYI034
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownLambdaType=false

import pickle
import weakref
from collections.abc import Callable, Iterator
from typing import Any

from recursion.cases import CHAINED, Cases, nested

cases = Cases()


class Recursive:
    """Every method does what it was called for."""

    def __repr__(self) -> str:
        return repr(self)

    def __str__(self) -> str:
        return f"{self}"

    def __format__(self, specification: str) -> str:
        return "{:>{width}}".format(self, width=specification or 1)

    def __bytes__(self) -> bytes:
        return bytes(self)

    def __eq__(self, other: object) -> bool:
        return self == other

    def __lt__(self, other: object) -> bool:
        return sorted([self, other]) is None  # pyright: ignore[reportArgumentType, reportUnnecessaryComparison]

    def __hash__(self) -> int:
        return hash((self,))

    def __getattr__(self, name: str) -> object:
        return getattr(self, name)

    def __call__(self) -> object:
        return self()

    def __iter__(self) -> Iterator[object]:
        return iter(self)

    def __next__(self) -> object:
        return next(self)

    def __getitem__(self, key: object) -> object:
        return self[key]

    def __contains__(self, key: object) -> bool:
        return key in self

    def __len__(self) -> int:
        return len(self)

    def __bool__(self) -> bool:
        return bool(self)

    def __index__(self) -> int:
        return [0][self]

    def __int__(self) -> int:
        return int(self)

    def __float__(self) -> float:
        return float(self)

    def __add__(self, other: object) -> object:
        return other + self  # pyright: ignore[reportOperatorIssue]

    __radd__ = __add__

    def __neg__(self) -> object:
        return -self

    def __enter__(self) -> None:
        with self:
            pass

    def __exit__(self, *_: object) -> None:
        pass

    def __reduce__(self) -> Any:
        return Recursive, (Recursive(),)

    @property
    def own(self) -> object:
        return self.own


class RenamedForever:
    def __getattr__(self, name: str) -> object:
        return getattr(self, name[:10] + "x")


class GotForever:
    def __getattribute__(self, name: str) -> object:
        return self.__dict__[name]


class SetForever:
    def __setattr__(self, name: str, value: object) -> None:
        setattr(self, name, value)


class Missing(dict[Any, Any]):
    def __missing__(self, key: object) -> object:
        return self[key]


class MissingInC(dict[Any, Any]):
    __missing__ = dict.__getitem__


class MadeForever:
    def __new__(cls) -> "MadeForever":
        return cls()


class Initialized:
    def __init__(self) -> None:
        self.other = Initialized()


class Descriptor:
    def __get__(self, instance: object, owner: type) -> object:
        return owner.attribute  # pyright: ignore[reportAttributeAccessIssue]


class Described:
    attribute = Descriptor()


class CheckedForever(type):
    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, cls)

    def __subclasscheck__(cls, subclass: type) -> bool:
        return issubclass(subclass, cls)


class Checked(metaclass=CheckedForever):
    pass


class CalledByItself:
    __call__: Any


CalledByItself.__call__ = CalledByItself()


class Hashed:
    def __hash__(self) -> int:
        return len({self})


class Deleted:
    def __del__(self) -> None:
        Deleted()


class Link:
    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __del__(self) -> None:
        del self.inner


def weak_references_that_free_the_next() -> int:
    kept = [Recursive.__new__(Recursive) for _ in range(CHAINED // 4)]
    references = [weakref.ref(entry, lambda _: kept and kept.pop()) for entry in kept]
    kept.pop()
    return len(references)


def enter(context: Any) -> None:
    with context:
        pass


def call(made: Callable[[], object]) -> object:
    return made()


def on_itself(call: Callable[[Any], object]) -> Callable[[], object]:
    return lambda: call(Recursive())


cases.table(
    RecursionError,
    {
        "repr": on_itself(repr),
        "str": on_itself(str),
        "format": on_itself(format),
        "bytes": on_itself(bytes),
        "==": on_itself(lambda made: made == Recursive()),
        "<": on_itself(lambda made: made < made),
        "hash": on_itself(hash),
        "hash in a set": lambda: hash(Hashed()),
        "getattr": on_itself(lambda made: made.attribute),
        "getattr with another name": lambda: RenamedForever().attribute,
        "getattribute": lambda: GotForever().attribute,
        "setattr": lambda: setattr(SetForever(), "attribute", 1),
        "property": on_itself(lambda made: made.own),
        "descriptor": lambda: Described().attribute,
        "call": on_itself(lambda made: made()),
        "a call that is an instance of its class": lambda: call(CalledByItself()),
        "iter": on_itself(iter),
        "next": on_itself(next),
        "item": on_itself(lambda made: made[1]),
        "in": on_itself(lambda made: 1 in made),
        "len": on_itself(len),
        "bool": on_itself(bool),
        "index": on_itself(lambda made: [0][made]),
        "int": on_itself(int),
        "float": on_itself(float),
        "addition": on_itself(lambda made: made + Recursive()),
        "negation": on_itself(lambda made: -made),
        "with": on_itself(enter),
        "missing": lambda: Missing()[1],
        "missing that is dict's own getitem": lambda: MissingInC()[1],
        "instance check": lambda: isinstance(1, Checked),
        "subclass check": lambda: issubclass(int, Checked),
        "new": MadeForever,
        "init": Initialized,
        "pickling": on_itself(pickle.dumps),
    },
)
cases.table(
    None,
    {
        "deallocation that makes another": Deleted,
        "deallocation of a chain with methods": lambda: bool(nested(Link, None)),
        "callbacks of weak references": weak_references_that_free_the_next,
    },
)
