"""`proxy-wasm serve`: what reaches a real Envoy, and what does not, while requests go through it."""

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from proxy_wasm.bench.load import Wire, batches_of, send_all
from proxy_wasm.cli import main
from proxy_wasm.envoy import EnvoyProcess, encode_request, send

if TYPE_CHECKING:
    from conftest import Versioned, WriteManifest

SECONDS = 90
"""How long anything may take on a machine that is busy with other things."""
REQUEST = encode_request("GET", "/", [(b"host", b"shop")])
SETTINGS = """
interval = 0.05
[extensions.shop]
module = "shop.wasm"
configuration = "shop.json"
"""


def wait_for(condition: Callable[[], bool], what: Callable[[], str]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, what()
        time.sleep(0.02)


class Agent:
    """`proxy-wasm serve` as a process, and what it has said."""

    def __init__(self, file: Path) -> None:
        self.log = file.with_suffix(".log")
        self._output = self.log.open("wb")
        command = [sys.executable, "-m", "proxy_wasm.cli", "serve", str(file)]
        self.process = subprocess.Popen(command, stdout=self._output, stderr=self._output)

    def said(self) -> str:
        return self.log.read_text()

    def wait_for(self, text: str) -> None:
        """Wait until it has said `text`."""
        wait_for(lambda: text in self.said() or self.process.poll() is not None, self.said)
        assert text in self.said()

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(how)
        self.process.wait(SECONDS)
        self._output.close()
        return self.process.returncode


@contextmanager
def serving(file: Path) -> Generator[Agent]:
    agent = Agent(file)
    try:
        yield agent
    finally:
        agent.end()


@pytest.fixture
def folder(tmp_path: Path, module_of: "Versioned") -> Path:
    """A folder with settings, a configuration and the first version of a module."""
    (tmp_path / "serve.toml").write_text(SETTINGS)
    (tmp_path / "shop.json").write_text("{}")
    replace(tmp_path / "shop.wasm", module_of(1))
    return tmp_path


def replace(path: Path, content: bytes) -> None:
    """Put a file in the place of another."""
    aside = path.with_suffix(".aside")
    aside.write_bytes(content)
    aside.replace(path)


@contextmanager
def subscribed(written: dict[str, Any]) -> Generator[tuple[EnvoyProcess, tuple[str, int]]]:
    """An Envoy with what the command wrote for one that watches a file; it answers every request itself, with 200."""
    (listener,) = written["static_resources"]["listeners"]
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    (host,) = manager["route_config"]["virtual_hosts"]
    host["routes"] = [{"match": {"prefix": "/"}, "direct_response": {"status": 200}}]
    admin = {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}}
    with EnvoyProcess({"admin": admin, **written}) as envoy:
        yield envoy, envoy.admin.listeners()["main"]


class Load:
    """Requests without a pause on several connections, in a thread."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.statuses = Counter[int]()
        self.failure: Exception | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._send, args=(address,))
        self._thread.start()

    def _send(self, address: tuple[str, int]) -> None:
        batches = itertools.takewhile(lambda _: not self._over.is_set(), batches_of([Wire(REQUEST)], 1))
        try:
            for (_, status), count in send_all(address, batches, connections=4).items():
                self.statuses[status] += count
        except Exception as error:  # noqa: BLE001 - raised in the test's thread
            self.failure = error

    def end(self) -> Counter[int]:
        """How often each status came; raises where a request went without an answer."""
        self._over.set()
        self._thread.join()
        if self.failure is not None:
            raise self.failure
        return self.statuses


def status(address: tuple[str, int], path: str = "/") -> int:
    reply = send(address, encode_request("GET", path, [(b"host", b"shop")]))
    assert reply.message is not None
    return int(reply.message.start[1])


def test_only_good_versions_reach_envoy_and_no_request_fails_meanwhile(
    folder: Path, write_manifest: "WriteManifest", module_of: "Versioned"
) -> None:
    module, configuration = folder / "shop.wasm", folder / "shop.json"
    options = ["--file", str(folder / "served" / "shop.json"), "--listen", "127.0.0.1:0"]
    subscriber = write_manifest("envoy-subscriber", *options)
    with serving(folder / "serve.toml") as agent:
        agent.wait_for("published: ")
        with subscribed(subscriber) as (envoy, address):
            assert status(address) == 201
            load = Load(address)
            try:
                replace(module, module_of(2))
                wait_for(lambda: status(address) == 202, agent.said)

                replace(module, module_of(3)[:-30])
                agent.wait_for("Failed to load Wasm bytecode")
                assert status(address) == 202

                replace(module, module_of(3).replace(b"abi_version_0_2_1", b"abi_version_0_3_0"))
                agent.wait_for("but proxy_abi_version_0_3_0")
                assert status(address) == 202

                replace(configuration, b"!rules[2]: no such user")
                replace(module, module_of(2))
                agent.wait_for("error: !rules[2]: no such user")
                assert status(address) == 202

                replace(module, module_of(3))
                replace(configuration, b'{"more": 1}')
                wait_for(lambda: status(address) == 203, agent.said)
            finally:
                statuses = load.end()
            assert set(statuses) == {201, 202, 203}
            prefix = "extension_config_discovery.http_filter.shop"
            stats = envoy.admin.stats(rf"^{prefix}\.")
            assert stats[f"{prefix}.config_fail"] == 0
            assert stats[f"{prefix}.update_success"] == 3
    said = agent.said()
    assert said.count("published: ") == 3
    assert f"version {published(folder)[:12]} " in said
    assert said.count(" stays") == said.count(": refused: ")


def published(folder: Path, name: str = "shop") -> str:
    """The version that Envoy's file has."""
    return json.loads((folder / "served" / f"{name}.json").read_text())["version_info"]


def serve_once(folder: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    outcome = main(["serve", str(folder / "serve.toml"), "--once"])
    captured = capsys.readouterr()
    return outcome, captured.out, captured.err


def test_once_tells_by_its_status_whether_all_is_published(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outcome, out, err = serve_once(folder, capsys)
    assert (outcome, err) == (0, "")
    assert ": published: version " in out
    file = folder / "served" / "shop.json"
    before = (published(folder), file.stat().st_mtime_ns)
    assert serve_once(folder, capsys) == (0, "", ""), "nothing is to be done"
    (folder / "shop.json").write_text("!never")
    outcome, out, err = serve_once(folder, capsys)
    assert (outcome, out) == (1, "")
    assert ": refused: version " in err
    assert "error: !never" in err
    assert f"version {before[0][:12]}" in err
    assert (published(folder), file.stat().st_mtime_ns) == before
    (folder / "shop.json").unlink()
    outcome, _, err = serve_once(folder, capsys)
    assert outcome == 1
    assert "shop.json: No such file or directory" in err
    assert published(folder) == before[0]


def test_a_module_must_have_the_hash_that_the_settings_name(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = folder / "serve.toml"
    file.write_text(SETTINGS + f'sha256 = "{"0" * 64}"\n')
    outcome, _, err = serve_once(folder, capsys)
    assert outcome == 1
    assert f"and must be {'0' * 64}" in err
    assert "nothing is published yet" in err
    served = folder / "served"
    assert json.loads((served / "shop.json").read_text()) == {"version_info": "", "resources": []}
    assert list((served / "modules").iterdir()) == [], "what was refused is not kept"


def test_one_bad_extension_keeps_no_other_back(
    folder: Path, module_of: "Versioned", capsys: pytest.CaptureFixture[str]
) -> None:
    replace(folder / "other.wasm", module_of(2))
    text = '[extensions.bad]\nmodule = "absent.wasm"\n' + '[extensions.other]\nmodule = "other.wasm"\n'
    (folder / "serve.toml").write_text(text)
    outcome, out, err = serve_once(folder, capsys)
    assert outcome == 1
    assert " other: published: " in out
    assert " bad: cannot be read: " in err


def test_new_settings_are_used_and_bad_ones_are_not(folder: Path, module_of: "Versioned") -> None:
    file = folder / "serve.toml"
    replace(folder / "other.wasm", module_of(2))
    with serving(file) as agent:
        agent.wait_for("shop: published: ")
        replace(file, SETTINGS.replace("interval", "intervall").encode())
        agent.wait_for("the settings from before stay")
        replace(file, (SETTINGS + '[extensions.other]\nmodule = "other.wasm"\n').encode())
        agent.wait_for("other: published: ")
        replace(file, b'directory = "elsewhere"\n' + SETTINGS.encode())
        agent.wait_for("directory: another one is served after the agent's next start")
        replace(file, b'interval = 0.05\n[extensions.other]\nmodule = "other.wasm"\n')
        agent.wait_for("shop: is not in the settings any more; version ")
        assert published(folder)
    assert agent.process.returncode == 0


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_when_it_is_told_to_and_two_do_not_serve_one_folder(
    how: signal.Signals, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    agent = Agent(folder / "serve.toml")
    try:
        agent.wait_for("published: ")
        outcome, _, err = serve_once(folder, capsys)
        assert (outcome, err) == (2, f"error: {folder / 'served'}: another agent serves this folder\n")
    finally:
        assert agent.end(how) == 0


def test_a_module_that_is_published_no_more_goes_after_a_while(folder: Path, module_of: "Versioned") -> None:
    (folder / "serve.toml").write_text("keep = 0.1\n" + SETTINGS)
    modules = folder / "served" / "modules"
    with serving(folder / "serve.toml") as agent:
        agent.wait_for("published: ")
        (before,) = modules.iterdir()
        replace(folder / "shop.wasm", module_of(2))
        wait_for(lambda: not before.exists(), agent.said)
        (after,) = modules.iterdir()
        assert after.name in (folder / "served" / "shop.json").read_text()


def test_a_damaged_module_in_the_served_folder_is_put_right_at_the_next_start(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    serve_once(folder, capsys)
    (kept,) = (folder / "served" / "modules").iterdir()
    whole = kept.read_bytes()
    kept.write_bytes(whole[:-10])
    left = [kept.with_name(".new-module"), folder / "served" / ".new-file"]
    for path in left:
        path.write_text("what an agent that was killed left half-written")
    outcome, out, _ = serve_once(folder, capsys)
    assert outcome == 0
    assert "published: " in out
    assert kept.read_bytes() == whole
    assert not any(path.exists() for path in left)


def test_a_full_disk_is_told_and_leaves_the_last_good_version(
    folder: Path, module_of: "Versioned", capsys: pytest.CaptureFixture[str]
) -> None:
    """A limit to the size of files stands in for the disk."""
    serve_once(folder, capsys)
    before = (folder / "served" / "shop.json").read_bytes()
    replace(folder / "shop.wasm", module_of(2) + b"\0\xff\xff\x03\0" + bytes(65534))
    limited = "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
    limited += "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096));"
    limited += "from proxy_wasm.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", limited, "serve", str(folder / "serve.toml"), "--once"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 1
    assert "shop: cannot be read: " in done.stderr
    assert os.strerror(27) in done.stderr
    assert "stays" in done.stderr
    assert (folder / "served" / "shop.json").read_bytes() == before
    assert list((folder / "served").rglob(".new-*")) == []


RULES = '{"basic_auth_rules": [{"prefix": "/admin", "request_methods": ["GET"], "credentials": ["alice:secret"]}]}'


def test_an_envoy_that_waits_gets_an_extension_in_python_and_keeps_it(
    folder: Path, write_manifest: "WriteManifest", basic_auth: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    replace(folder / "shop.wasm", basic_auth.read_bytes())
    replace(folder / "shop.json", RULES.replace("credentials", "credentiels").encode())
    outcome, _, err = serve_once(folder, capsys)
    assert outcome == 1
    assert "basic_auth_rules[0]" in err
    options = ["--file", str(folder / "served" / "shop.json"), "--listen", "127.0.0.1:0"]
    with subscribed(write_manifest("envoy-subscriber", *options)) as (_, address):
        assert status(address, "/admin") == 500, "nothing is published yet, and nobody passes"
        replace(folder / "shop.json", RULES.encode())
        assert serve_once(folder, capsys)[0] == 0
        wait_for(lambda: status(address, "/admin") == 401, lambda: "Envoy took no update")
        assert status(address, "/public") == 200
        replace(folder / "shop.json", b"{]")
        assert serve_once(folder, capsys)[0] == 1
        assert status(address, "/admin") == 401
