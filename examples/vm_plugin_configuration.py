"""Reads both configurations: the VM's, which all plugins in the VM share, and the plugin's own."""

import logging

from proxy_wasm import PluginContext

logger = logging.getLogger(__name__)


class VmPluginConfiguration(PluginContext):
    def on_vm_start(self) -> None:
        logger.info("vm configuration: %s", self.vm_configuration.text)

    def on_configure(self) -> None:
        logger.info("plugin configuration: %s", self.configuration.text)
