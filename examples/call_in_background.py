"""Reports each finished request to a service, without any request that waits for it."""

import json
import logging
from collections.abc import Mapping

from proxy_wasm import CalloutError, HttpContext, PluginContext

logger = logging.getLogger(__name__)


class CallInBackground(PluginContext):
    async def report(self, entry: Mapping[str, object]) -> None:
        try:
            await self.http_call("audit", "POST", "/entries", body=json.dumps(entry))
        except CalloutError as error:
            logger.warning("not reported: %s: %s", entry, error)

    def http_context(self) -> "ReportedStream":
        return ReportedStream(self)


class ReportedStream(HttpContext[CallInBackground]):
    def on_log(self) -> None:
        request, response = self.properties.request, self.properties.response
        entry = {"method": request.method, "path": request.path, "status": response.code}
        self.plugin.create_task(self.plugin.report(entry))  # the plugin's: the stream ends now
