"""Readers and writers of the WebAssembly binary format: core modules and components."""
