"""What the operator configured, as the plugin sees it."""

import json
from typing import Any

from proxy_wasm.errors import ConfigurationError


class Configuration:
    """The bytes of a plugin's or VM's configuration; false where none was given."""

    __slots__ = ("_name", "raw")

    raw: bytes
    """The configuration as the proxy hands it over."""

    def __init__(self, raw: bytes = b"", name: str = "configuration") -> None:
        self.raw = raw
        self._name = name

    def __bool__(self) -> bool:
        return bool(self.raw)

    @property
    def text(self) -> str:
        """The configuration as text; `ConfigurationError` where it is not UTF-8."""
        try:
            return self.raw.decode()
        except UnicodeDecodeError as error:
            msg = f"{self._name}: not UTF-8, at byte {error.start}"
            raise ConfigurationError(msg) from error

    def json(self) -> Any:  # noqa: ANN401 - JSON is what it is
        """The configuration as JSON; `ConfigurationError` where it is none, or empty."""
        if not self.raw:
            msg = f"{self._name}: empty where JSON is needed"
            raise ConfigurationError(msg)
        try:
            return json.loads(self.text)
        except ValueError as error:
            msg = f"{self._name}: not JSON: {error}"
            raise ConfigurationError(msg) from error
        except RecursionError as error:
            msg = f"{self._name}: nested too deeply"
            raise ConfigurationError(msg) from error
