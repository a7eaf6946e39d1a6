"""What a build leaves out of CPython raises an exception that says how to get it back; everything else works without it."""

import pytest

from proxy_wasm.testing import LogLevel, Proxy, StartProxy

pytestmark = pytest.mark.hosts("wasm", "envoy")

COMPILER = (
    "ImportError: compile(), eval() and exec() of source text are left out of this build; "
    'bring them back with [tool.proxy-wasm] stdlib = ["compile"]'
)
MODULE = (
    "ModuleNotFoundError: {} is left out of this build: import it at module level, or bring it back with "
    '[tool.proxy-wasm] stdlib = ["{}"]'
)
EXPECTED = {
    "import": MODULE.format("_sqlite3", "sqlite3"),
    "import of a compiled module": MODULE.format("cmath", "cmath"),
    "import of a part": MODULE.format("decimal", "decimal"),
    "import of what is there": "it worked: '[1]'",
    "compile": COMPILER,
    "compile a tree": COMPILER,
    "eval": COMPILER,
    "exec": COMPILER,
    "parse": COMPILER,
    "literal": COMPILER,
    "tree": "it worked: 'Constant'",
    "named tuple": COMPILER,
    "code": "it worked: 42",
    "docstring": "it worked: (None, '($module, obj, /)')",
    "name of a character": 'ImportError: PyCapsule_Import could not import module "unicodedata"',
    "format": "it worked: \"  2'x'\"",
}


@pytest.fixture
def reduced(start_proxy: StartProxy) -> Proxy:
    return start_proxy("reduced")


@pytest.mark.parametrize("act", EXPECTED)
def test_what_is_left_out_is_an_exception_that_says_how_to_get_it_back(reduced: Proxy, act: str) -> None:
    assert reduced.get("/", headers={"act": act}).json() == EXPECTED[act]


def test_a_traceback_marks_what_failed_though_no_line_can_be_parsed(reduced: Proxy) -> None:
    exchange = reduced.get("/", headers={"act": "raise"})
    assert exchange.status == 500
    (report,) = [entry.message for entry in exchange.logs if entry.level is LogLevel.ERROR]
    assert report.startswith("exception in ReducedStream.on_request_headers")
    assert '    return len(size) + {"größe": 1}["größer" + size]\n                       ^^' in report
    assert report.endswith("KeyError: 'größergrößer'")
    assert reduced.get("/").status == 200


WIDE = "\n".join(
    f"try:\n    import {name}\nexcept ImportError:\n    pass"
    for name in [
        "abc",
        "array",
        "ast",
        "asyncio",
        "base64",
        "binascii",
        "bisect",
        "calendar",
        "cmath",
        "cmd",
        "code",
        "codecs",
        "collections",
        "colorsys",
        "configparser",
        "contextlib",
        "contextvars",
        "copy",
        "copyreg",
        "csv",
        "dataclasses",
        "datetime",
        "decimal",
        "difflib",
        "dis",
        "email.message",
        "email.parser",
        "enum",
        "errno",
        "fnmatch",
        "fractions",
        "functools",
        "gettext",
        "graphlib",
        "gzip",
        "hashlib",
        "heapq",
        "hmac",
        "html.parser",
        "http.client",
        "http.cookies",
        "imaplib",
        "inspect",
        "io",
        "ipaddress",
        "itertools",
        "json",
        "keyword",
        "linecache",
        "locale",
        "logging.handlers",
        "mimetypes",
        "math",
        "netrc",
        "numbers",
        "opcode",
        "operator",
        "optparse",
        "pathlib",
        "pickle",
        "pickletools",
        "pkgutil",
        "platform",
        "plistlib",
        "pprint",
        "queue",
        "quopri",
        "random",
        "re",
        "reprlib",
        "sched",
        "secrets",
        "select",
        "selectors",
        "shelve",
        "shlex",
        "shutil",
        "socket",
        "sqlite3",
        "stat",
        "statistics",
        "string",
        "stringprep",
        "struct",
        "symtable",
        "tarfile",
        "tempfile",
        "textwrap",
        "threading",
        "time",
        "timeit",
        "token",
        "tokenize",
        "tomllib",
        "traceback",
        "tracemalloc",
        "types",
        "typing",
        "unicodedata",
        "unittest",
        "urllib.request",
        "uuid",
        "warnings",
        "wave",
        "weakref",
        "xml.dom.minidom",
        "xml.etree.ElementTree",
        "xml.parsers.expat",
        "xml.sax",
        "zipfile",
        "zlib",
        "zoneinfo",
        "encodings.gbk",
        "encodings.idna",
        "encodings.shift_jis",
        "faulthandler",
        "cProfile",
    ]
)
FILTER = """
from proxy_wasm import HttpContext, PluginContext

class Wide(PluginContext):
    def http_context(self):
        return Stream(self)

class Stream(HttpContext):
    def on_request_headers(self, headers, end_of_stream):
        value = decimal.Decimal("0.1") * 3
        tree = xml.etree.ElementTree.fromstring("<a><b>\\u00e9</b></a>")
        database = sqlite3.connect(":memory:")
        row = database.execute("select sum(x) from (select 1 as x union all select 2)").fetchone()
        packed = pickle.loads(pickle.dumps({"a": [1, 2.5]}))
        parts = [str(value), tree[0].text, row[0], packed, "\\u4e2d".encode("gbk").hex(), unicodedata.name("\\u00e9"),
                 next(csv.reader(["a,b"])), cmath.sqrt(-1), array.array("i", [1]).tolist(), statistics.mean([1, 2]),
                 zlib.decompress(zlib.compress(b"x")), eval("1 + 1"), math.sqrt(4), list(tokenize.generate_tokens(iter(["1"]).__next__))[0].string]
        return self.send_local_response(200, body=repr(parts))
"""


def test_what_was_imported_while_the_module_was_built_works_afterwards(
    start_proxy: StartProxy, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.getbasetemp() / "wide"
    if not folder.exists():
        folder.mkdir()
        (folder / "wide.py").write_text(WIDE + FILTER, "utf-8")
        settings = '[tool.proxy-wasm]\nplugin = "wide:Wide"\nstdlib = ["compile"]\n'
        (folder / "pyproject.toml").write_text('[project]\nname = "wide"\n' + settings)
    exchange = start_proxy(folder).get("/")
    assert exchange.status == 200, exchange.logs
    assert exchange.text == (
        "['0.3', 'é', 3, {'a': [1, 2.5]}, 'd6d0', 'LATIN SMALL LETTER E WITH ACUTE', ['a', 'b'], 1j, [1], 1.5, b'x', 2, 2.0, '1']"
    )
