"""Modules under the names of standard ones that cannot work in Wasm; this folder comes first on the build's `sys.path`."""
