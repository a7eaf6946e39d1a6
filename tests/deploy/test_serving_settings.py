"""The agent's settings: what can be said, and what is refused with its place."""

from pathlib import Path

import pytest

from proxy_wasm.deploy import ServingError
from proxy_wasm.deploy.serving import load
from proxy_wasm.emulator import FailurePolicy

EVERYTHING = """
directory = "/var/lib/envoy"
interval = 0.5
image_interval = 30
keep = 60
time_limit = 10

[extensions.shop]
module = "build/shop.wasm"
sha256 = "DIGEST"
configuration = "shop.json"
vm_configuration = "/etc/vm.json"
root_id = "audit"
failure_policy = "reload"
environment = {A = "1"}
host_environment = ["TOKEN"]
capabilities = ["proxy_log"]
allow_on_headers_stop_iteration = true
network = true

[extensions.image]
module = "oci://registry.example.com/shop:1.0"
plain_http = true
"""


def settings(folder: Path, text: str) -> Path:
    file = folder / "serve.toml"
    file.write_text(text)
    return file


def test_everything_can_be_said(tmp_path: Path) -> None:
    loaded = load(settings(tmp_path, EVERYTHING.replace("DIGEST", "a" * 64)))
    assert (loaded.directory, loaded.interval, loaded.image_interval) == (Path("/var/lib/envoy"), 0.5, 30)
    assert (loaded.keep, loaded.time_limit) == (60, 10)
    shop, image = loaded.extensions
    assert (shop.name, shop.module, shop.sha256) == ("shop", str(tmp_path / "build" / "shop.wasm"), "a" * 64)
    assert (shop.configuration, shop.vm_configuration) == (tmp_path / "shop.json", Path("/etc/vm.json"))
    assert (shop.root_id, shop.failure_policy) == ("audit", FailurePolicy.RELOAD)
    assert (shop.environment, shop.host_environment, shop.capabilities) == ({"A": "1"}, ("TOKEN",), ("proxy_log",))
    assert shop.allow_on_headers_stop_iteration
    assert shop.network
    assert (image.module, image.plain_http) == ("oci://registry.example.com/shop:1.0", True)
    assert (image.configuration, image.failure_policy, image.network) == (None, FailurePolicy.CLOSED, False)


def test_one_extension_is_enough(tmp_path: Path) -> None:
    loaded = load(settings(tmp_path, '[extensions.shop]\nmodule = "shop.wasm"'))
    assert loaded.directory == tmp_path / "served"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "extensions: missing; name an extension with [extensions.NAME]"),
        ("a = ", "Invalid value"),
        ("interval = 0\n[extensions.a]", "interval: must be a number of seconds above 0"),
        ("keep = true\n[extensions.a]", "keep: must be a number of seconds above 0"),
        ("interval = inf\n[extensions.a]", "interval: must be a number of seconds above 0"),
        ("directory = 5\n[extensions.a]", "directory: must be a string"),
        ('directory = ""\n[extensions.a]', "directory: must be a path"),
        ("intervall = 5\n[extensions.a]", "intervall: unknown key; did you mean 'interval'?"),
        ("extensions = {a = 1}", "extensions.a: must be a table"),
        ("[extensions.a]", "extensions.a.module: missing; a .wasm file or an image"),
        ('[extensions."../a"]\nmodule = "a"', "extensions.../a: '../a' is no name"),
        ('[extensions.a]\nmodule = "a"\nconfig = "b"', "extensions.a.config: unknown key"),
        ('[extensions.a]\nmodule = "oci://a"', "extensions.a.module: 'oci://a' names no image"),
        ('[extensions.a]\nmodule = "a"\nsha256 = "A"', "extensions.a.sha256: must be 64 hexadecimal digits"),
        ('[extensions.a]\nmodule = "a"\nnetwork = 1', "extensions.a.network: must be true or false"),
        (
            '[extensions.a]\nmodule = "a"\nfailure_policy = "fail"',
            "failure_policy: must be one of closed, open, reload",
        ),
        ('[extensions.a]\nmodule = "a"\nenvironment = {A = 1}', "environment: must be a table of strings"),
        ('[extensions.a]\nmodule = "a"\ncapabilities = [1]', "capabilities: must be an array of strings"),
    ],
)
def test_what_cannot_be_is_refused_with_its_place(text: str, problem: str, tmp_path: Path) -> None:
    file = settings(tmp_path, text)
    with pytest.raises(ServingError) as refused:
        load(file)
    assert str(refused.value).startswith(f"{file}: ")
    assert problem in str(refused.value)


def test_settings_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(ServingError, match=r"absent\.toml: cannot be read: No such file or directory"):
        load(tmp_path / "absent.toml")
