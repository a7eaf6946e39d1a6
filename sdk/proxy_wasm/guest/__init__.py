"""What exists only inside a compiled module: exports, hostcalls on imports, and what replaces absent parts of the stdlib."""
