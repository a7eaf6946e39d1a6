"""Source code and syntax trees: parsed, compiled, evaluated, walked."""

# Anything nests in anything here, and does what no program should.
# ruff: noqa: S307

import ast
import functools

from recursion.cases import Cases, Ending, nested

cases = Cases()

MANY = 100_000


def indented(statement: str, levels: int) -> str:
    return "".join(f"{' ' * level}{statement}\n" for level in range(levels)) + " " * levels + "pass"


SOURCES: dict[Ending, dict[str, str]] = {
    None: {
        "50 parentheses": "(" * 50 + "1" + ")" * 50,
        "50 brackets": "[" * 50 + "]" * 50,
        "50 calls": "f(" * 50 + ")" * 50,
        "1000 operators": "a" + "+a" * 1000,
        "1000 attributes": "a" + ".a" * 1000,
        "300 elifs": "if a: pass\n" + "elif a: pass\n" * 300,
        "99 functions": indented("def f():", 99),
        "99 classes": indented("class C:", 99),
        "19 loops": indented("while a:", 19),
        "comparisons": "a" + "<a" * MANY,
        "ands": "a" + " and a" * MANY,
        "decorators": "@a\n" * MANY + "def f(): pass",
        "assignments": "a=" * MANY + "1",
        "alternatives": "match a:\n case " + "1|" * MANY + "1: pass",
        "patterns": "match a:\n case " + "[" * 199 + "]" * 199 + ": pass",
        "texts": "'a' " * MANY,
        "an indentation": "if a:\n" + " " * MANY + "pass",
    },
    RecursionError: {
        "calls of calls": "f" + "()" * MANY,
        "attributes": "a" + ".a" * MANY,
        "subscripts": "a" + "[0]" * MANY,
        "operators": "a" + "+a" * MANY,
    },
    MemoryError: {
        "open parentheses": "(" * MANY,
        "open brackets": "[" * MANY,
        "199 parentheses": "(" * 199 + "1" + ")" * 199,
        "199 brackets": "[" * 199 + "]" * 199,
        "199 braces": "{1:" * 199 + "1" + "}" * 199,
        "199 calls": "f(" * 199 + ")" * 199,
        "199 walruses": "(a:=" * 199 + "1" + ")" * 199,
        "signs": "-" * MANY + "1",
        "nots": "not " * MANY + "1",
        "powers": "a" + "**a" * MANY,
        "conditions": "a" + " if a else a" * MANY,
        "lambdas": "lambda: " * MANY + "1",
        "elifs": "if a: pass\n" + "elif a: pass\n" * MANY,
        "f-strings": "f'{" * 149 + "1" + "}'" * 149,
    },
    SyntaxError: {
        "stars": "*" * MANY + "a",
        "awaits": "async def f():\n " + "await " * MANY + "a",
        "lines continued": "\\\n" * MANY + ")",
    },
    IndentationError: {"indentations": indented("if a:", 150)},
}
for _ending, _sources in SOURCES.items():
    cases.table(_ending, {name: functools.partial(compile, text, "deep", "exec") for name, text in _sources.items()})


def signs() -> ast.expr:
    sign, place = ast.USub(), {"lineno": 1, "col_offset": 0}
    return nested(lambda inner: ast.UnaryOp(sign, inner, **place), ast.Constant(1, None, **place))


cases.table(
    RecursionError,
    {
        "a tree compiled": lambda: compile(ast.Expression(signs()), "deep", "eval"),
        "a tree dumped": lambda: ast.dump(signs()),
        "a tree visited": lambda: ast.NodeVisitor().visit(signs()),
        "eval": lambda: eval("a" + ".a" * MANY),
        "ast.parse": lambda: ast.parse("a" + ".a" * MANY),
        "ast.literal_eval of sums": lambda: ast.literal_eval("1" + "+1" * MANY),
    },
)
cases.table(None, {"deallocation of a tree": lambda: bool(signs())})
cases.table(MemoryError, {"ast.literal_eval of signs": lambda: ast.literal_eval("-" * MANY + "1")})
