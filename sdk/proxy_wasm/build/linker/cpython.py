"""What the linker knows of CPython's functions by name: which recurse without a check, and which never recurse.

Most recursion in CPython passes a check that raises `RecursionError` (calls, `repr`, comparison, the JSON scanner, ...). These cycles do not:
natively a million nested `map` objects, or the hash of a million nested tuples, crash the interpreter. The linker puts the check in front of
these functions (`proxy_wasm.build.linker.stack`).

Source: CPython 3.14, Objects/ and Modules/.
"""

import re

from proxy_wasm.build.wasm.module import I32, FunctionType

NULL, FAILURE = 0, -1

_ITERATORS = re.compile(r"\w+_(?:next|iternext)")
"""`tp_iternext` of iterators over iterators."""
_LEAF_ITERATORS = re.compile(
    r"(?:list|listrev|dict|dictrev|tuple|range|longrange|set|str|unicode|bytes|bytearray|memory|array|deque|dequereverse|odict"
    r"|template|line|positions|fieldname|formatter|unpack|tokenizer|branches)iter_\w+|unicode_ascii_iter_next|hamt_\w+|count_next|repeat_next"
)
"""Iterators over what holds no iterator: the check would only cost time."""

_NAMED = {
    "PyObject_Hash": FAILURE,
    "save": FAILURE,  # pickle: tuples nest without a check
    "mappingproxy_contains": FAILURE,
    "mappingproxy_len": FAILURE,
    "mappingproxy_getitem": NULL,
    "mappingproxy_getiter": NULL,
    "mappingproxy_or": NULL,
    "method_vectorcall": NULL,
    "method_getattro": NULL,
    "wrapper_call": NULL,
    "getset_get": NULL,
    "_gen_throw": NULL,
    "gen_close_iter": FAILURE,
    "r_object": NULL,  # marshal: its own limit is for larger stacks
    "partial_vectorcall": NULL,
    "ga_getattro": NULL,
    "ga_vectorcall": NULL,
    "_Py_make_parameters": NULL,
    "_elementtree_Element___deepcopy___impl": NULL,
    "proxy_getattr": NULL,
    "proxy_call": NULL,
    "proxy_getitem": NULL,
    "proxy_iter": NULL,
    "proxy_length": FAILURE,
    "proxy_bool": FAILURE,
    "proxy_contains": FAILURE,
}
_ITERATOR_TYPE = FunctionType(bytes([I32]), bytes([I32]))


def error_result(name: str, function_type: FunctionType) -> int | None:
    """What the function `name` returns with an exception set, where it needs a check; `None` where it needs none."""
    if function_type.results != bytes([I32]):
        return None
    if name in _NAMED:
        return _NAMED[name]
    if function_type == _ITERATOR_TYPE and _ITERATORS.fullmatch(name) and not _LEAF_ITERATORS.fullmatch(name):
        return NULL
    return None


_FLAT = re.compile(
    r"_?Py(?:Object|Mem)_(?:Raw|Mi)?(?:Malloc|Calloc|Realloc|Free)"  # call an allocator
    r"|(?:long|float|complex|bool|bytes|unicode|object)_dealloc"  # free an object that holds no other
    r"|\w*traverse\w*|visit_\w+"  # garbage collection visits objects one by one
)


def calls_flatly(name: str) -> bool:
    """Whether what the function `name` calls through the table never calls further ones, so that no recursion passes it."""
    return _FLAT.fullmatch(name) is not None


MEASURED_FRAMES = {"encoder_listencode_obj": 208, "encoder_encode_key_value": 224}
"""Native stack, in bytes, of functions that the linker's estimate would make twice as large, so that too little JSON could be written.

V8 13.6 and 14.1 take 136 to 168 bytes.
"""

DEALLOCATE = "_Py_Dealloc"
_TRASHCAN = re.compile(rb"(\x41\x0d\x75\x22[\x80-\xff]*[\x00-\x7f]\x41)\x01(\x4a)")
"""`i32.const 13; i32.shr_s; local.tee; i32.const 1; i32.gt_s`: whether two margins of 8 KiB are left above the limit."""


def later_trashcan(run: bytes) -> bytes | None:
    """`_Py_Dealloc`'s instructions changed to put objects aside only beyond the limit; `None` where `run` does not hold the comparison.

    CPython puts an object aside, its `__del__` not yet called, when less than 16 KiB are left above the limit, and takes it up again where there
    are 32. A `__del__` that makes another such object would go on between the two for ever; natively Python's own limit of 1,000 calls comes
    first, but they do not fit into a proxy's stack. Beyond the limit the call of `__del__` ends in `RecursionError`.
    """
    changed, count = _TRASHCAN.subn(b"\\1\x7f\\2", run)
    return changed if count == 1 else None
