"""A filter that makes metrics and records numbers in them: a request's header `records` is JSON, lists of kind, name, labels and number."""

import json
from typing import Any

from proxy_wasm import Action, Counter, Headers, HttpContext, PluginContext


class MetricsFilter(PluginContext):
    def http_context(self) -> HttpContext[Any]:
        return RecordingStream(self)


class RecordingStream(HttpContext[MetricsFilter]):
    def on_request_headers(self, headers: Headers, end_of_stream: bool) -> Action:
        for kind, name, labels, number in json.loads(headers["records"]):
            metric = getattr(self.plugin, kind)(name, **labels)
            if isinstance(metric, Counter):
                metric.increment(number)
            else:
                metric.record(number)
        return self.send_local_response(200)
