"""Programs that recurse as deep as they can, in groups, each with what it must end in."""

from recursion import calls, containers, exceptions, generators, iterators, objects, source, text, wrappers
from recursion.cases import Cases

GROUPS: dict[str, Cases] = {
    module.__name__.rpartition(".")[2]: module.cases
    for module in (calls, containers, exceptions, generators, iterators, objects, source, text, wrappers)
}
