"""Formats, templates, regular expressions, XML."""

# Anything nests in anything here, and does what no program should.
# ruff: noqa: ANN401, S314

import copy
import pickle
import re
import string
from typing import Any
from xml.etree import ElementTree as ET

from recursion.cases import CHAINED, DEEP, Cases

cases = Cases()


class Selfish:
    def __init__(self) -> None:
        self.a = self


class Substituted(dict[str, object]):
    def __missing__(self, key: str) -> object:
        return string.Template("$a").substitute(self)


def elements() -> Any:
    outer = inner = ET.Element("a")
    for _ in range(CHAINED):
        inner = ET.SubElement(inner, "a")
    return outer


cases.table(
    None,
    {
        "a format with 100000 attributes": lambda: bool(("{0" + ".a" * 100_000 + "}").format(Selfish())),
        "a pattern with 40 groups": lambda: bool(re.compile("(" * 40 + ")" * 40)),
        "a pattern that backtracks": lambda: re.match(r"(?:a|b)*c", "ab" * (DEEP // 2)),
        "a pattern of repeats": lambda: bool(re.fullmatch(r"(?:(?:a?){2}b?)*", "a" * 100_000)),
        "a pattern with lookaheads": lambda: bool(re.match("(?=" * 40 + "a" + ")" * 40, "a")),
        "XML parsed": lambda: ET.fromstring("<a>" * CHAINED + "</a>" * CHAINED).tag,
        "XML iterated": lambda: sum(1 for _ in elements().iter()),
        "deallocation of XML": lambda: elements().tag,
    },
)
cases.table(
    RecursionError,
    {
        "templates": lambda: string.Template("$a").substitute(Substituted()),
        "a pattern with groups": lambda: re.compile("(" * 10_000 + ")" * 10_000),
        "a pattern with lookaheads in lookaheads": lambda: re.compile("(?=" * 10_000 + ")" * 10_000),
        "XML deepcopied": lambda: copy.deepcopy(elements()),
        "XML written": lambda: ET.tostring(elements()),
        "XML pickled": lambda: pickle.dumps(elements()),
    },
)
cases.table(ValueError, {"a format in a format": lambda: ("{0:" * 100 + "}" * 100).format(1)})
