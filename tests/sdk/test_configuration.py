from typing import TYPE_CHECKING, cast

import pytest

from proxy_wasm import Configuration, ConfigurationError, LogLevel, PluginContext

if TYPE_CHECKING:
    from conftest import MakeProxy, StartProxy


def test_a_configuration_is_bytes_text_and_json() -> None:
    configuration = Configuration(b'{"a": "\xc3\xa9"}')
    assert configuration.raw == b'{"a": "\xc3\xa9"}'
    assert configuration.text == '{"a": "é"}'
    assert configuration.json() == {"a": "é"}
    assert configuration
    assert not Configuration()


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "configuration: empty where JSON is needed"),
        (b"{", "configuration: not JSON: Expecting property name"),
        (b"\xff", "configuration: not UTF-8, at byte 0"),
        (b"[" * 100_000, "configuration: nested too deeply"),
    ],
)
def test_what_is_no_json_is_a_configuration_error(raw: bytes, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Configuration(raw).json()


def test_a_plugin_sees_both_configurations(start: "StartProxy", proxy_of: "MakeProxy") -> None:
    seen: list[object] = []

    class Plugin(PluginContext):
        def on_vm_start(self) -> None:
            seen.append((self.vm_configuration.text, self.configuration.raw))

        def on_configure(self) -> None:
            seen.append((self.vm_configuration.text, self.configuration.json()))

    proxy_of({"": Plugin}).plugin(b"[1]", b"vm")
    assert seen == [("vm", b""), ("vm", [1])]


def test_a_configuration_error_refuses_the_configuration_with_its_message_alone(proxy_of: "MakeProxy") -> None:
    class Plugin(PluginContext):
        def on_configure(self) -> None:
            raise ConfigurationError("rules[2].hosts: needs at least one entry")

    proxy = proxy_of({"": Plugin})
    assert not proxy.plugin()
    assert proxy.host.logged == [(LogLevel.ERROR, "rules[2].hosts: needs at least one entry")]


def test_a_configuration_error_at_the_vms_start_refuses_too(proxy_of: "MakeProxy") -> None:
    class Plugin(PluginContext):
        def on_vm_start(self) -> None:
            self.vm_configuration.json()

    proxy = proxy_of({"": Plugin})
    assert not proxy.plugin()
    assert proxy.host.messages(LogLevel.ERROR) == ["VM configuration: empty where JSON is needed"]


def test_any_other_exception_refuses_with_its_traceback(proxy_of: "MakeProxy") -> None:
    class Plugin(PluginContext):
        def on_configure(self) -> None:
            self.configuration.json()["missing"]

    proxy = proxy_of({"": Plugin})
    assert not proxy.plugin(b"{}")
    (message,) = proxy.host.messages(LogLevel.ERROR)
    assert message.startswith("exception in Plugin.on_configure\nTraceback (most recent call last):\n")
    assert 'json()["missing"]' in message
    assert message.endswith("KeyError: 'missing'")


def test_a_configuration_is_accepted_the_second_time_after_a_refusal(proxy_of: "MakeProxy") -> None:
    class Plugin(PluginContext):
        def on_configure(self) -> None:
            self.configuration.json()

    proxy = proxy_of({"": Plugin})
    assert not proxy.plugin(b"")
    assert proxy.plugin(b"{}")


@pytest.mark.parametrize("result", [True, False])
def test_a_returned_value_refuses_and_says_what_to_do(proxy_of: "MakeProxy", result: bool) -> None:
    class Plugin(PluginContext):
        def on_configure(self) -> None:
            return cast("None", result)

    proxy = proxy_of({"": Plugin})
    assert not proxy.plugin()
    (message,) = proxy.host.messages(LogLevel.ERROR)
    assert message.endswith(
        f"TypeError: returned bool, {result}; a callback returns None, and raises an exception to refuse"
    )
