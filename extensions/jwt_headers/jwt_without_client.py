"""Imports `jwt` without its client for key sets, which opens connections of its own.

A proxy has no sockets, so that client is of no use here, but `http.client`, `ssl` and `urllib` come with it: two MiB of the
memory of every VM. Import this module before any other that imports `jwt`.
"""

import sys
from types import ModuleType

_CLIENT = "jwt.jwks_client"

if "jwt" not in sys.modules:
    stand_in = ModuleType(_CLIENT)
    setattr(stand_in, "PyJWKClient", None)  # noqa: B010 - a type checker knows the attributes of a module
    sys.modules[_CLIENT] = stand_in
    try:
        import jwt  # noqa: F401 # pyright: ignore[reportUnusedImport] - for what it leaves in `sys.modules`
    finally:
        del sys.modules[_CLIENT]
