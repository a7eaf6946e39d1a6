"""What keeps a plugin from being deployed.

    DeployError
    ├── OptionError     what was asked for cannot be: an option, a configuration that a platform cannot carry
    ├── ServingError    the agent's settings, or the folder that it serves, cannot be used
    ├── Unavailable     a module or a file cannot be had
    └── Refused         a proxy must not get it: the module, or the plugin's configuration

Each message names the thing, the place and, where there is one, the way out.
"""


class DeployError(Exception):
    """Base of this package's errors."""


class OptionError(DeployError):
    """Something was asked for that cannot be."""


class ServingError(DeployError):
    """The agent cannot begin: its settings, or the folder that it serves, cannot be used."""


class Unavailable(DeployError):  # noqa: N818 - says what happened
    """A module or a file cannot be had; it may be later."""


class Refused(DeployError):  # noqa: N818 - says what happened
    """A module or a configuration that no proxy must get."""
