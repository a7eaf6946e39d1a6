"""Cases, and what they are made of."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

DEEP = 1_000_000
CHAINED = 200_000
"""Deep as well, of what takes more memory or time to make."""

Program = Callable[[], object]
Ending = type[BaseException] | None


@dataclass(frozen=True, slots=True)
class Case:
    """A program, and the class of the exception that it ends in; `None` where it returns."""

    program: Program
    ending: Ending


class Cases(dict[str, Case]):
    """Cases by name."""

    def table(self, ending: Ending, programs: Mapping[str, Program]) -> None:
        """Add all of `programs`."""
        for name, program in programs.items():
            self[name] = Case(program, ending)

    def ends_in(self, ending: Ending) -> Callable[[Program], Program]:
        """Add the function, under its name in words."""

        def add(program: Program) -> Program:
            self[program.__name__.replace("_", " ")] = Case(program, ending)
            return program

        return add


def nested(wrap: Callable[[Any], Any], core: Any, depth: int = CHAINED) -> Any:  # noqa: ANN401 - anything nests
    """`core` in `wrap` in `wrap` in ..., `depth` times."""
    for _ in range(depth):
        core = wrap(core)
    return core
