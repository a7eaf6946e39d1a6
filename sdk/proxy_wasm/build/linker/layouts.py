"""Where CPython's objects keep what the linker's own functions read and write of them without calling CPython.

All of them are bytes from the object's beginning, unless something else is said. Reference count and class come first, four bytes each.

Source: CPython 3.14, Include/cpython/bytesobject.h, unicodeobject.h, longintrepr.h, tupleobject.h, listobject.h and dictobject.h; object.h (`PyTypeObject`,
`PyHeapTypeObject`); Include/internal/pycore_dict.h (`PyDictKeysObject`, `PyDictValues`) and pycore_object.h (what stands before an object);
Modules/_collectionsmodule.c (`dequeobject`).
"""

CLASS = 4
"""Of an object's class (`ob_type`)."""
SIZE = 8
"""Of the number of bytes of a `bytes`, of pairs of a `dict`, of members of a `deque`."""

BYTES_START = 16
"""Of a `bytes` object's bytes (`ob_sval`), behind size and hash."""

TEXT_LENGTH, TEXT_HASH, TEXT_STATE, TEXT_START = 8, 12, 16, 20
"""Of a `str` of ASCII: `length`, `hash`, `state`, and its characters."""
ASCII, NEW_ASCII = 0b1100000, 0b1100100
"""Of a `str`'s state: the bits `ascii` and `compact`; and those of a string that is not interned, of one byte for each character."""

DIGIT = 12
"""Of the value of a small `int`."""

TUPLE_MEMBERS, LIST_ITEMS = 16, 12
"""Of a tuple's members, and of a list's pointer to its own."""

SEQUENCE, MAPPING, CONTAINS, SUBSCRIPT, ASSIGN = 52, 56, 28, 4, 8
"""Of `tp_as_sequence` and `tp_as_mapping` in a class, of `sq_contains` in the first of them and of `mp_subscript` and `mp_ass_subscript` in the second."""
VERSION_TAG, BASIC_SIZE, SHARED_KEYS = 192, 16, 440
"""Of `tp_version_tag`, `tp_basicsize` and `ht_cached_keys` in a class."""

KEY_COUNT, INDEX_SIZE, INDICES = 16, 5, 20
"""Of `dk_nentries`, `dk_log2_index_bytes` and `dk_indices` in the keys that a class's objects share; behind their indices come entries of key and value."""
DICTIONARY, WEAK_REFERENCES = 12, 16
"""How far before an object the pointers to its dictionary and to its weak references are."""
