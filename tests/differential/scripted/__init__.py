"""Differential testing: scripts of hostcalls and traffic, run in the emulator and in a real Envoy, and what came of them compared."""
