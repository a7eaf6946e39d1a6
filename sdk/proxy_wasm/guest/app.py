"""The module that becomes the component: its import is the build, its `WitWorld` the exports.

Importing it imports the plugins that `proxy_wasm_settings`, written by the build, refers to. Whatever is in memory at the end of this
module is what every VM of every proxy begins with. An export is a method of the dispatcher, which lets no exception through.
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
from collections.abc import Callable
from typing import ClassVar

import wit_world
from proxy_wasm_settings import PLUGINS, SDK_VERSION

from proxy_wasm import plugins
from proxy_wasm.abi import hostcalls
from proxy_wasm.dispatcher import Dispatcher, used_callbacks
from proxy_wasm.failures import report
from proxy_wasm.guest import manifest, sources
from proxy_wasm.guest.hostcalls import ImportedHostcalls

hostcalls.bind(ImportedHostcalls())
dispatcher = Dispatcher(plugins.load(PLUGINS), hostcalls.current(), native=False)


def _create_first_context(context_id: int, parent_context_id: int) -> None:
    """The first callback of a VM: every VM would draw the same random numbers, had the snapshot's generator the say."""
    try:
        WitWorld.proxy_on_context_create = staticmethod(dispatcher.on_context_create)
        random = sys.modules.get("random")
        if random is not None:
            random.seed()
    except BaseException as error:  # noqa: BLE001 - nothing may leave an export
        report(hostcalls.current(), "the first callback", error)
    dispatcher.on_context_create(context_id, parent_context_id)


class WitWorld(wit_world.WitWorld):
    """The exports. Those that no plugin has a use for are not in the finished module."""

    proxy_on_context_create: ClassVar[Callable[[int, int], None]] = staticmethod(_create_first_context)
    proxy_on_vm_start = staticmethod(dispatcher.on_vm_start)
    proxy_validate_configuration = staticmethod(dispatcher.validate_configuration)
    proxy_on_configure = staticmethod(dispatcher.on_configure)
    proxy_on_tick = staticmethod(dispatcher.on_tick)
    proxy_on_new_connection = staticmethod(dispatcher.on_new_connection)
    proxy_on_downstream_data = staticmethod(dispatcher.on_downstream_data)
    proxy_on_upstream_data = staticmethod(dispatcher.on_upstream_data)
    proxy_on_downstream_connection_close = staticmethod(dispatcher.on_downstream_connection_close)
    proxy_on_upstream_connection_close = staticmethod(dispatcher.on_upstream_connection_close)
    proxy_on_request_headers = staticmethod(dispatcher.on_request_headers)
    proxy_on_request_body = staticmethod(dispatcher.on_request_body)
    proxy_on_request_trailers = staticmethod(dispatcher.on_request_trailers)
    proxy_on_request_metadata = staticmethod(dispatcher.on_request_metadata)
    proxy_on_response_headers = staticmethod(dispatcher.on_response_headers)
    proxy_on_response_body = staticmethod(dispatcher.on_response_body)
    proxy_on_response_trailers = staticmethod(dispatcher.on_response_trailers)
    proxy_on_response_metadata = staticmethod(dispatcher.on_response_metadata)
    proxy_on_http_call_response = staticmethod(dispatcher.on_http_call_response)
    proxy_on_grpc_receive_initial_metadata = staticmethod(dispatcher.on_grpc_receive_initial_metadata)
    proxy_on_grpc_receive = staticmethod(dispatcher.on_grpc_receive)
    proxy_on_grpc_receive_trailing_metadata = staticmethod(dispatcher.on_grpc_receive_trailing_metadata)
    proxy_on_grpc_close = staticmethod(dispatcher.on_grpc_close)
    proxy_on_queue_ready = staticmethod(dispatcher.on_queue_ready)
    proxy_on_foreign_function = staticmethod(dispatcher.on_foreign_function)
    proxy_on_done = staticmethod(dispatcher.on_done)
    proxy_on_log = staticmethod(dispatcher.on_log)
    proxy_on_delete = staticmethod(dispatcher.on_delete)


sources.keep(reference.partition(":")[0] for reference in PLUGINS.values())
imports.end()
MANIFEST = manifest.encode(
    {"sdk": SDK_VERSION, "plugins": PLUGINS, "modules": sorted(sys.modules), "callbacks": used_callbacks()}
)
gc.collect()
gc.freeze()
