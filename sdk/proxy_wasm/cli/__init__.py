"""The command `proxy-wasm`."""

from proxy_wasm.cli.main import main

__all__ = ["main"]
