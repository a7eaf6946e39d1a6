"""What the interpreter inside the module says of itself and of its libraries."""

import _decimal
import json
import pyexpat
import sqlite3
import sys
import zlib

import iniconfig

from proxy_wasm import Headers, HttpContext, PluginContext

OTHER_VERSIONS = ("2.4.9", "3.50.1", "1.2.11", iniconfig.__name__)
"""Strings that look like versions of the libraries, and are not."""
VERSIONS = {
    "CPython": sys.version.partition(" ")[0],
    "SQLite": sqlite3.sqlite_version,
    "expat": pyexpat.EXPAT_VERSION.removeprefix("expat_"),
    "libmpdec": _decimal.__libmpdec_version__,
    "zlib": zlib.ZLIB_RUNTIME_VERSION,
}


class Libraries(PluginContext):
    def http_context(self) -> HttpContext["Libraries"]:
        return Telling(self)


class Telling(HttpContext[Libraries]):
    def on_request_headers(self, headers: Headers, end_of_stream: bool) -> None:
        self.send_local_response(200, body=json.dumps(VERSIONS).encode())
