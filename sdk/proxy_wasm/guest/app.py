"""The module that becomes the component: its import is the build, its functions are the callbacks.

Importing it imports the plugins that `proxy_wasm_settings`, written by the build, refers to. Whatever is in memory at the end of this
module is what every VM of every proxy begins with. A callback is a method of the dispatcher, which lets no exception through; the linker's part
of the module calls it (`proxy_wasm.build.linker.bridge`).
"""

# Two modules exist only in Wasm.
# pyright: reportMissingModuleSource=false

# The order of imports matters, and so does what happens between them.
# ruff: noqa: E402

from proxy_wasm.guest import imports, process

process.adapt()
imports.import_world()

import gc
import sys
from typing import cast

import wit_world
from proxy_wasm_settings import COMPILER, IMPORTS, LEFT_OUT, PLUGINS, SDK_VERSION

from proxy_wasm import plugins
from proxy_wasm.abi import hostcalls
from proxy_wasm.abi.hostcalls import Hostcalls
from proxy_wasm.dispatcher import Dispatcher, used_callbacks
from proxy_wasm.failures import report
from proxy_wasm.guest import hostcalls as imported
from proxy_wasm.guest import manifest, serving, sources

imports.end_of_sdk()
plugin_classes = plugins.load(PLUGINS)
callbacks = used_callbacks()


def start() -> None:
    """Begin a VM, in its first callback: from now on this module has a function for every callback that the finished module exports.

    Every VM would draw the same random numbers, had the snapshot's generator the say.
    """
    host = cast("Hostcalls", imported)
    hostcalls.bind(host)
    dispatcher = Dispatcher(plugin_classes, host, native=False)
    serving.begin(dispatcher)
    for name in callbacks:
        globals()[name] = getattr(dispatcher, name)
    random = sys.modules.get("random")
    if random is not None:
        try:
            random.seed()
        except BaseException as error:  # noqa: BLE001 - nothing may leave a callback
            report(host, "the start of the VM", error)
    gc.freeze()  # what was made here is there as long as the VM


class WitWorld(wit_world.WitWorld):
    """What componentize-py wants of a component: a class with its exports. The linker leaves them out."""

    start = staticmethod(start)


sources.keep(reference.partition(":")[0] for reference in PLUGINS.values())
imports.end(IMPORTS, LEFT_OUT, compiler=COMPILER)
MANIFEST = manifest.encode(
    {"sdk": SDK_VERSION, "plugins": PLUGINS, "modules": sorted(sys.modules), "callbacks": callbacks}
)
gc.collect()
gc.freeze()
