"""What runs only in a compiled module, as far as it can be run outside of one."""

import json
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from proxy_wasm import HostError
from proxy_wasm.abi.signatures import CALLBACKS, HOSTCALLS
from proxy_wasm.guest import hostcalls, manifest


@pytest.mark.parametrize(("status", "shown"), [(2, "BAD_ARGUMENT"), (77, "unknown status 77")])
def test_a_status_other_than_ok_is_raised_with_the_hostcalls_name(status: int, shown: str) -> None:
    with pytest.raises(HostError, match=f"proxy_get_property: {shown}") as raised:
        hostcalls.refused("get_property", status)
    assert raised.value.status == status


def test_a_wrong_number_of_arguments_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="get_property: called with 2 arguments"):
        hostcalls.miscounted("get_property", 2)


MANIFEST = {"sdk": "0.1.0", "plugins": {"": "né:Class"}, "modules": ["a", "b"], "callbacks": []}


def test_a_manifest_is_found_in_memory() -> None:
    encoded = manifest.encode(MANIFEST)
    assert manifest.find(b"\0" * 100 + encoded + b"more") == MANIFEST


def test_memory_without_manifest_has_none() -> None:
    assert manifest.find(b"") is None
    assert manifest.find(b"\0" * 1000) is None
    assert manifest.find(Path(manifest.__file__).read_bytes()) is None


def test_a_damaged_manifest_is_passed_over() -> None:
    encoded = manifest.encode(MANIFEST)
    damaged = encoded[:-2] + b"!!"
    assert manifest.find(damaged) is None
    assert manifest.find(encoded[:-1]) is None
    assert manifest.find(damaged + encoded) == MANIFEST


def test_the_form_of_a_manifest_is_magic_size_checksum_and_json() -> None:
    encoded = manifest.encode(MANIFEST)
    payload = encoded[24:]
    assert json.loads(payload) == MANIFEST
    assert encoded[16:20] == len(payload).to_bytes(4, "little")
    assert encoded[20:24] == zlib.crc32(payload).to_bytes(4, "little")


def test_the_compiled_code_of_the_manifest_module_holds_no_magic() -> None:
    magic = manifest.encode({})[:16]
    source = Path(manifest.__file__)
    assert magic not in source.read_bytes()
    code = compile(source.read_text(), source.name, "exec")
    assert magic not in [constant for constant in code.co_consts if isinstance(constant, bytes)]


WORLD = """
import dataclasses
dataclasses.dataclass(type)
class WitWorld: ...
"""
BUILT_IN = """
from proxy_wasm.guest import hostcalls
CALLS = []
RESULTS = {"get_property": b"named", "get_header_map_value": b"/path", "get_log_level": 2}
def recording(name):
    def call(*arguments):
        CALLS.append((name, *arguments))
        return RESULTS.get(name)
    return call
for name in HOSTCALLS:
    setattr(hostcalls, name, recording(name))
hostcalls.header_method = lambda index, headers_class, method: method
hostcalls.slot_offset = lambda owner, value, size: 8
hostcalls.fingerprint_function = hostcalls.headers_fingerprint_function = None
hostcalls.counter_method = lambda counter_class, method, offset: method
streams = {}
hostcalls.stream_get, hostcalls.stream_put, hostcalls.stream_pop = streams.get, streams.__setitem__, streams.pop
for name in ("serve_streams", "serve_headers", "serve_fingerprints", "register", "forget", "request_map", "status_of"):
    setattr(hostcalls, name, recording(name))
app.start()
"""
GREETER = """
import random
from proxy_wasm import PluginContext, HttpContext

class Greeter(PluginContext):
    def http_context(self):
        return Greeting(self)

class Greeting(HttpContext):
    def on_request_headers(self, headers, end_of_stream):
        if self.context_id == 3:
            import wave
        headers["x-greeting"] = headers[":path"]
"""


def in_guest(folder: Path, program: str) -> str:
    """What a program prints that imports the guest's app as componentize-py does."""
    (folder / "wit_world.py").write_text(WORLD)
    (folder / "proxy_wasm_settings.py").write_text(
        'PLUGINS = {"": "greeter:Greeter"}\nSDK_VERSION = "1.2"\nCOMPILER = True\nIMPORTS = ()\nLEFT_OUT = {}\n'
    )
    (folder / "greeter.py").write_text(GREETER)
    for name in (
        "componentize_py_async_support/futures",
        "componentize_py_async_support/streams",
        "componentize_py_types",
    ):
        path = folder / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.touch()
    start = f"import sys\nsys.path.insert(0, {str(folder)!r})\nfrom proxy_wasm.guest import app\nHOSTCALLS = {list(HOSTCALLS)}\n"
    done = subprocess.run(
        [sys.executable, "-c", start + BUILT_IN + program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_there_is_a_function_for_each_callback_of_the_module(tmp_path: Path) -> None:
    found = in_guest(
        tmp_path, "print(all(callable(getattr(app, name)) for name in app.callbacks), *app.callbacks)"
    ).split()
    assert found[0] == "True"
    assert {"on_context_create", "on_request_headers"} <= set(found[1:]) <= set(CALLBACKS)


def test_a_callback_reaches_the_plugin_and_the_plugin_the_hostcalls(tmp_path: Path) -> None:
    printed = in_guest(
        tmp_path,
        "app.on_context_create(1, 0)\n"
        "assert app.on_vm_start(1, 0) == app.on_configure(1, 0) == 1\n"
        "app.on_context_create(2, 1)\n"
        "print(app.on_request_headers(2, 1, 1))\n"
        "print(CALLS[-1])\n",
    )
    assert printed.splitlines() == ["0", "('replace_header_map_value', 0, b'x-greeting', b'/path')"]


def test_random_numbers_differ_from_one_start_to_the_next(tmp_path: Path) -> None:
    draw = "import random\nrandom.seed(1)\napp.start()\nprint(random.random())"
    assert in_guest(tmp_path, draw) != in_guest(tmp_path, draw)


def test_a_failing_reseed_is_logged_and_the_vm_starts(tmp_path: Path) -> None:
    printed = in_guest(
        tmp_path,
        "import random\nrandom.seed = None\napp.start()\napp.on_context_create(1, 0)\n"
        "print(next(call[2].decode() for call in CALLS if call[0] == 'log'))\nprint(app.on_configure(1, 0))",
    )
    assert printed.startswith("exception in the start of the VM\nTypeError: 'NoneType' object is not callable")
    assert printed.endswith("\n1\n")


def test_an_import_at_run_time_says_when_imports_are_possible(tmp_path: Path) -> None:
    printed = in_guest(
        tmp_path,
        "app.on_context_create(1, 0)\napp.on_context_create(3, 1)\n"
        "print(app.on_request_headers(3, 1, 1))\n"
        "print(next(call[2].decode() for call in CALLS if call[0] == 'log'))\n",
    )
    assert printed.startswith("1\nexception in Greeting.on_request_headers\n")
    assert "import wave" in printed, "the source line is kept for the traceback"
    assert "No module named 'wave' in this build: a compiled filter has no file system" in printed


def test_what_is_loaded_can_be_imported_again_and_what_it_imports_late_is_there(tmp_path: Path) -> None:
    program = "import json, random\nfrom collections import Counter\nprint(Counter('aab').most_common(1))"
    assert in_guest(tmp_path, program) == "[('a', 2)]\n"


def test_the_manifest_describes_the_snapshot(tmp_path: Path) -> None:
    printed = in_guest(
        tmp_path,
        "import json\nfrom proxy_wasm.guest import manifest\nprint(json.dumps(manifest.find(app.MANIFEST)))",
    )
    found = json.loads(printed)
    assert (found["sdk"], found["plugins"]) == ("1.2", {"": "greeter:Greeter"})
    assert {"greeter", "random", "proxy_wasm.dispatcher"} <= set(found["modules"])
    assert "on_request_headers" in found["callbacks"]
    assert "on_request_body" not in found["callbacks"]


STAND_INS = str(Path(manifest.__file__).parent / "stand_ins")


def with_stand_ins(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\nsys.path.insert(0, {STAND_INS!r})\n{program}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_libraries_that_look_up_names_of_ssl_can_be_imported() -> None:
    program = "import ssl, asyncio, http.client, urllib.request\nprint(ssl.__file__, ssl.TLSVersion.TLSv1_2.name)"
    assert with_stand_ins(program).split() == [f"{STAND_INS}/ssl.py", "TLSv1_2"]


def test_there_is_no_tls_to_be_had_from_the_stand_in() -> None:
    program = (
        "import ssl\n"
        "for make in (ssl.SSLContext, ssl.create_default_context, ssl.wrap_socket):\n"
        "    try:\n        make()\n"
        "    except ImportError as error:\n        print(error)\n"
    )
    assert (
        with_stand_ins(program).splitlines()
        == ["there is no TLS inside a proxy: reach services through its callouts"] * 3
    )


def test_tracebacks_have_no_colours() -> None:
    program = (
        "import _colorize\n"
        "theme = _colorize.get_theme(force_color=True)\n"
        "_colorize.set_theme(theme)\n"
        "print(repr(theme.traceback.filename + theme.syntax.reset + _colorize.get_colors().RED))\n"
        "print(_colorize.can_colorize(file=None), _colorize.decolor('x'), hasattr(theme, '__len__'))\n"
        "print(hasattr(theme.traceback, '__len__'))"
    )
    assert with_stand_ins(program).split() == ["''", "False", "x", "False", "False"]
