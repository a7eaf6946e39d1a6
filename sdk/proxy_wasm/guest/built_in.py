"""What the linker and the guest have to agree on about the module's built-in functions; each has its part in a module of its own.

The functions are `header_functions`, `stream_callbacks`, `stream_classes`, `callout_functions`, `fingerprints` and `metric_functions` in `proxy_wasm.build.linker`; who gives them
their work is `proxy_wasm.guest.serving`.
"""

HEADER_METHODS = (
    "get",
    "path",
    "__getitem__",
    "__contains__",
    "getall",
    "multi_items",
    "__setitem__",
    "add",
    "discard",
)
"""The methods of `Headers` that have a built-in function, by whose index `header_method` makes it."""

MAX_CLASSES = 16
"""How many classes of streams can be registered."""

HAS_ON_DONE, HAS_ON_LOG, HAS_OBSERVED_END = 1, 2, 4
"""What a class of streams has of its own, as bits of the flags that it is registered with; the third is for objects whose end somebody may notice, by a finalizer or, where
the linker's part cannot look for them, by weak references."""
HAS_VALUES = 8
"""Its objects keep the values of their own attributes behind those of their slots (`Py_TPFLAGS_INLINE_VALUES`)."""
HAS_NO_DICTIONARY = 32
"""Its objects have slots only, which cannot hide a method."""
IS_MADE_PLAINLY = 16
"""`http_context` does nothing but call it, and that nothing but what `HttpContext.__init__` does."""

LEAVES_MAPS = frozenset(
    {
        "define_metric",
        "get_buffer_bytes",
        "get_buffer_status",
        "get_current_time_nanoseconds",
        "get_header_map_pairs",
        "get_header_map_value",
        "get_log_level",
        "get_metric",
        "get_property",
        "increment_metric",
        "log",
        "record_metric",
    }
)
"""Hostcalls after which a map of headers still is what it was, and the context's: until any other, or the callback's end, a module that has read the whole map reads
it no more."""
