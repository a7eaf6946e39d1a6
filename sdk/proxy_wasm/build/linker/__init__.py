"""The linker: from a component of componentize-py to one core module that Proxy-Wasm hosts load.

Theory of operation
-------------------
componentize-py hands over a component: some forty core modules, the wiring between them, and a snapshot of CPython's memory taken after
the author's code was imported. Proxies load a single core module that exports `proxy_on_*` and imports `env.proxy_*`. Nothing has to be
executed to turn the one into the other, only followed, renumbered and written down:

1. `wasm.component` reads the wiring, `wasm.module` the core modules.
2. `resolution` follows every import to its definition.
3. `adapters` and `wasi` write the functions on the module's edges: one for each hostcall that the component imports, one for each
   callback that it exports, and stand-ins for WASI, whose stubs would be traps.
4. `program` joins all modules: one function space, one table, one memory, globals with the values that they have after the snapshot.
5. `reduction` plans what the module does without, `reachability` finds the functions that can still run; `instructions` reads their bodies as
   tokens.
6. `stack` decides what each function is charged for recursion.
7. `renumbering` writes the sections.
8. `snapshot` leaves out of the memory what nothing will read.

Rules that hold throughout: the same component and options give the same bytes (nothing depends on hash order, time or paths);
whatever is not understood is refused with its place, never skipped or guessed.
"""

from proxy_wasm.build.linker.linking import FrameCache, LinkOptions, link

__all__ = ["FrameCache", "LinkOptions", "link"]
