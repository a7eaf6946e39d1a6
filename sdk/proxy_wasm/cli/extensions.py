"""Extensions and modules that commands run, and the hosts that they run on."""

from proxy_wasm.build import BuildError, Project
from proxy_wasm.build.tracebacks import explain_native
from proxy_wasm.cli.errors import InputError
from proxy_wasm.errors import PluginReferenceError
from proxy_wasm.testing import Extension, HostName


def default_host(extension: Extension) -> HostName:
    """Where a command runs it unless told: an extension's sources as they are, a module in the emulator."""
    return "wasm" if extension.is_module else "native"


def check_host(extension: Extension, host: HostName) -> None:
    """Refuse a host that the extension cannot run on."""
    if host == "native" and extension.is_module:
        msg = f"{extension.path}: --host native runs an extension's sources; give its folder"
        raise InputError(msg)


def prepare(extension: Extension, host: HostName) -> None:
    """Import or build it, as the host needs it; an error in its sources is told with its file and line."""
    if host != "native":
        extension.module()
        return
    try:
        extension.plugins()
    except (BuildError, PluginReferenceError):
        raise
    except Exception as error:
        explained = explain_native(error, Project.load(extension.path))
        if explained is None:
            raise
        raise explained from error
