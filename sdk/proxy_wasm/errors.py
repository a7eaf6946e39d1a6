"""The exceptions of the author's API.

Exception
├── ConfigurationError      raised by authors: the configuration is refused
├── PluginReferenceError    a plugin's "module:Class" leads nowhere
├── RuntimeError
│   └── PhaseError          something was used outside the callbacks in which the proxy offers it
└── HostError               the proxy refused a hostcall otherwise (`proxy_wasm.abi.hostcalls`)
"""


class ConfigurationError(Exception):
    """The configuration is refused; the message says which field, what is wrong, and what would be right.

    Raised in `on_configure` or `on_vm_start` it makes the proxy reject the configuration; the message is written to the
    proxy's log as it is, without a traceback.
    """


class PluginReferenceError(Exception):
    """A plugin's reference, "module:Class", names no plugin class."""


class PhaseError(RuntimeError):
    """A map, a buffer or an action was used outside of the callbacks in which the proxy offers it."""
