"""What a module has not: each attempt is a Python exception, and the VM lives on."""

import pytest

from proxy_wasm.testing import LogLevel, Proxy

pytestmark = pytest.mark.hosts("wasm", "envoy")

NO_FILE = "FileNotFoundError: [Errno 44] "
UNSUPPORTED = "OSError: [Errno 58] "
NO_THREAD = "RuntimeError: can't start new thread"
NOT_BUILT_IN = (
    "ModuleNotFoundError: No module named {!r} in this build: a compiled filter has no file system, "
    "so whatever it imports must be imported when it is built, at module level"
)
UNKNOWN_ENCODING = "LookupError: unknown encoding in this build: {0!r}; a filter that needs it must import encodings.{0} at module level"
EXPECTED = {
    "open": NO_FILE,
    "open for writing": NO_FILE,
    "os.open": NO_FILE,
    "os.listdir": NO_FILE,
    "os.mkdir": NO_FILE,
    "os.stat": NO_FILE,
    "tempfile": NO_FILE,
    "input": "EOFError: ",
    "socket": UNSUPPORTED,
    "socket pair": UNSUPPORTED,
    "connection": UNKNOWN_ENCODING.format("idna"),
    "encoding": UNKNOWN_ENCODING.format("cp1252"),
    "subprocess": UNSUPPORTED,
    "shell": UNSUPPORTED,
    "thread": NO_THREAD,
    "timer": NO_THREAD,
    "sleep": f"{UNSUPPORTED}cannot sleep for 0.1 s: a proxy's worker waits for nothing but events",
    "asyncio": UNSUPPORTED,
    "import": NOT_BUILT_IN.format("wave"),
    "import of nothing": NOT_BUILT_IN.format("surely_not_there"),
    "import from a package": "ImportError: cannot import name 'surely_not_there' from 'recursion'",
    "import of a submodule": NOT_BUILT_IN.format("recursion.surely_not_there"),
    "import by name": NOT_BUILT_IN.format("wave"),
}


def test_files_sockets_processes_threads_and_late_imports_raise(probe: Proxy) -> None:
    attempts = probe.get("/", headers={"act": "absent"}).json()
    assert attempts.keys() == EXPECTED.keys()
    for name, outcome in attempts.items():
        assert outcome.startswith(EXPECTED[name]), name


@pytest.mark.parametrize(
    ("end", "cause"),
    [
        ("sys.exit", "SystemExit: good bye"),
        ("os._exit", "SystemExit: 3"),
        ("os.abort", "SystemExit: os.abort()"),
        ("SIGTERM", "SystemExit: signal 15"),
        ("SIGABRT", "SystemExit: signal 6"),
        ("SIGINT", "KeyboardInterrupt"),
        ("KeyboardInterrupt", "KeyboardInterrupt: pressed"),
        ("GeneratorExit", "GeneratorExit: left"),
        ("StopIteration", "StopIteration"),
        ("unspeakable", "Unspeakable: <exception str() failed>"),
        ("group", "BaseExceptionGroup: several (2 sub-exceptions)"),
    ],
)
def test_what_would_end_a_program_ends_one_request(probe: Proxy, end: str, cause: str) -> None:
    exchange = probe.get("/", headers={"act": f"end by {end}"})
    assert (exchange.status, exchange.details, exchange.upstream) == (500, "python_exception", None)
    assert any(record.level is LogLevel.ERROR and cause in record.message for record in exchange.logs)
    assert probe.get("/").status == 200


def test_a_handler_receives_the_signal_that_is_raised(probe: Proxy) -> None:
    assert probe.get("/", headers={"act": "handle a signal"}).json() == [15]
