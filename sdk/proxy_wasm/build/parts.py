"""The parts of CPython that a module does without unless it uses them.

CPython comes with all of its standard library's compiled modules, and a proxy's time to start and its memory follow the code that a module
holds: some 0.3 s and 12 MB a megabyte. So what nobody imported while the extension was built is left out, and with it the compiler, which
`compile`, `eval` and `exec` need for source text. The setting `stdlib` of `[tool.proxy-wasm]` brings parts back by their names.

A part is a set of functions, named by ranges: each compiled module is one file of CPython's, whose functions follow one another in libpython.
That its functions cannot run is certain where they are `static` and the module was never initialized, for only the module's own code and data know
their addresses; `proxy_wasm.build.linker.reduction` checks the second, and keeps whatever other code calls or takes the address of. The same holds
for the large tables of some modules, which take their place in every VM's memory: they are named by where they lie in libpython's data.

Source: CPython 3.14, Modules/, Parser/, Python/, as componentize-py 0.25 links them.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

EVERYTHING = "all"
"""The name that keeps every part."""

LEFT_OUT = "left_out_of_this_build:"
"""How the functions are named that stand in the table for those of a part; the part's name follows."""

Range = tuple[str, str]
"""The first and the last function of a range, by name; both occur once."""


@dataclass(frozen=True, slots=True)
class Table:
    """Constants of libpython that only one compiled module's functions, and other constants of that module, refer to."""

    start: int
    """From where libpython's data begin."""
    end: int
    checksum: int
    """CRC-32, by which another libpython's data are told apart."""


@dataclass(frozen=True, slots=True)
class Part:
    """Functions of libpython that a module may do without."""

    name: str
    """What the setting calls it."""
    module: str | None = None
    """The compiled module that they implement; where it was initialized, they stay."""
    code: tuple[Range, ...] = ()
    raising: Mapping[str, int] = field(default_factory=dict[str, int])
    """Functions that raise `ImportError` and return this instead."""
    idle: Mapping[str, int] = field(default_factory=dict[str, int])
    """Functions that do nothing and return this instead."""
    tables: tuple[Table, ...] = ()
    """What they alone read."""


NULL, FAILURE = 0, -1

COMPILE = Part(
    "compile",
    code=(
        ("_PyToken_OneChar", "_PyParser_InteractiveASTFromFile"),
        ("_PyAST_Fini", "add_ast_annotations"),
        ("ast2obj_arguments", "obj2ast_pattern"),
        ("_PyAssemble_MakeCodeObject", "append_ast_comprehension"),
        ("_PyCodegen_Expression", "codegen_comprehension_generator"),
    ),
    raising={
        "_PyPegen_fill_token": FAILURE,
        "_PyParser_ASTFromString": NULL,
        "_PyParser_ASTFromFile": NULL,
        "_PyParser_InteractiveASTFromFile": NULL,
        "_PyAST_Compile": NULL,
        "_PySymtable_Build": NULL,
        "PyAST_Check": FAILURE,
        "PyAST_mod2obj": NULL,
        "PyAST_obj2mod": NULL,
        "tokenizeriter_new": NULL,
        "tokenizeriter_next": NULL,
        "init_types": FAILURE,
        "_PyAST_Validate": NULL,
        "_PyCompile_AstPreprocess": FAILURE,
        "_PyRun_AnyFileObject": FAILURE,
        "sys__baserepl": NULL,
    },
)
"""From source text to code: parser, syntax tree, compiler."""

_MODULES: dict[str, dict[str, tuple[Range, ...]]] = {
    "array": {"array": (("PyInit_array", "array_arrayiterator___setstate__"),)},
    "asyncio": {"_asyncio": (("PyInit__asyncio", "_asyncio_Task__fut_waiter_get"),)},
    "binascii": {"binascii": (("PyInit_binascii", "binascii_exec"),)},
    "bisect": {"_bisect": (("PyInit__bisect", "bisect_modexec"),)},
    "cProfile": {"_lsprof": (("PyInit__lsprof", "RotatingTree_Enum"),)},
    "cmath": {"cmath": (("PyInit_cmath", "cmath_exec"),)},
    "csv": {"_csv": (("PyInit__csv", "csv_exec"),)},
    "decimal": {
        "_decimal": (("PyInit__decimal", "signaldict_copy"), ("mpd_dflt_traphandler", "swap_halfrows_pow2")),
    },
    "faulthandler": {"faulthandler": (("faulthandler_traverse", "PyExec_faulthandler"),)},
    "hashlib": {
        "_md5": (("PyInit__md5", "md5_get_digest_size"),),
        "_sha1": (("PyInit__sha1", "sha1_get_digest_size"),),
        "_sha2": (("PyInit__sha2", "SHA512_get_digest_size"),),
        "_sha3": (("PyInit__sha3", "SHAKE_get_suffix"),),
        "_blake2": (("PyInit__blake2", "py_blake2s_new"),),
    },
    "heapq": {"_heapq": (("PyInit__heapq", "heapq_exec"),)},
    "hmac": {"_hmac": (("PyInit__hmac", "_hmac_HMAC_digest_size_get"),)},
    "json": {"_json": (("PyInit__json", "encoder_encode_key_value"),)},
    "math": {"math": (("PyInit_math", "math_exec"),)},
    "pickle": {"_pickle": (("PyInit__pickle", "Unpickler_set_memo"),)},
    "queue": {"_queue": (("PyInit__queue", "maybe_handoff_item"),)},
    "random": {"_random": (("PyInit__random", "_random_Random_getrandbits"),)},
    "select": {"select": (("PyInit_select", "select_poll_poll"),)},
    "socket": {"_socket": (("PyInit__socket", "sock_gettimeout_getter"),)},
    "sqlite3": {
        "_sqlite3": (("pysqlite_close_all_blobs", "_pysqlite_long_as_int64"), ("sqlite3_log", "pcache1Shrink")),
    },
    "struct": {"_struct": (("PyInit__struct", "lp_double_complex"),)},
    "symtable": {"_symtable": (("PyInit__symtable", "symtable_init_constants"),)},
    "tokenize": {"_tokenize": (("PyInit__tokenize", "tokenizeriter_next"),)},
    "tracemalloc": {"_tracemalloc": (("PyInit__tracemalloc", "_tracemalloc_reset_peak"),)},
    "unicodedata": {"unicodedata": (("PyInit_unicodedata", "ucd_traverse"),)},
    "xml.etree.ElementTree": {"_elementtree": (("PyInit__elementtree", "makeuniversal"),)},
    "xml.parsers.expat": {
        "pyexpat": (
            ("PyInit_pyexpat", "xmlparse_specified_attributes_setter"),
            ("parserCreate", "big2_scanCdataSection"),
        ),
    },
    "zlib": {"zlib": (("PyInit_zlib", "zlib_ZlibDecompressor_decompress"), ("adler32_z", "zcfree"))},
    "zoneinfo": {"_zoneinfo": (("calendarrule_year_to_timestamp", "parse_tz_delta"),)},
    "encodings.cjk": {
        "_codecs_cn": (("PyInit__codecs_cn", "hz_encode"),),
        "_codecs_hk": (("PyInit__codecs_hk", "big5hkscs_codec_init"),),
        "_codecs_iso2022": (("PyInit__codecs_iso2022", "jisx0201_k_encoder"),),
        "_codecs_jp": (("PyInit__codecs_jp", "find_pairencmap"),),
        "_codecs_kr": (("PyInit__codecs_kr", "johab_encode"),),
        "_codecs_tw": (("PyInit__codecs_tw", "cp950_encode"),),
        "_multibytecodec": (("PyInit__multibytecodec", "_multibytecodec_MultibyteStreamWriter_reset"),),
    },
}
"""From a part's name to the compiled modules in it, and their functions."""

_TABLES: dict[str, tuple[Table, ...]] = {
    "_codecs_cn": (Table(623392, 728336, 0x50BD1D4B),),
    "_codecs_hk": (Table(728336, 853040, 0x5935900A),),
    "_codecs_jp": (Table(853040, 1031488, 0xA123089F),),
    "_codecs_kr": (Table(1031488, 1134160, 0x98C51F1D),),
    "_codecs_tw": (Table(1134160, 1212720, 0xFACD7619),),
    "unicodedata": (Table(1214112, 1921696, 0x3F100975),),
}
"""From a compiled module to its tables: of characters and of their names, more than a megabyte."""

FINISHED = Part(
    EVERYTHING,
    code=(("lookup_getdata", "_new_tuple_object"),),
    idle={
        "_Py_Finalize": NULL,
        "_PyTokenizer_FindEncodingFilename": NULL,
        "<&rustc_demangle::DemangleStyle as core::fmt::Display>::fmt": NULL,
        "<std::backtrace::Backtrace as core::fmt::Display>::fmt": NULL,
        "<<std::sys::backtrace::BacktraceLock>::print::DisplayBacktrace as core::fmt::Display>::fmt": NULL,
    },
)
"""What has no use in a proxy: the end of the interpreter, objects shared by several interpreters, source files, backtraces of Rust's frames."""

PARTS = (
    COMPILE,
    *(
        Part(name, module, code, tables=_TABLES.get(module, ()))
        for name, modules in _MODULES.items()
        for module, code in modules.items()
    ),
    FINISHED,
)

_CJK = """big5 big5hkscs cp932 cp949 cp950 euc_jis_2004 euc_jisx0213 euc_jp euc_kr gb18030 gb2312 gbk hz iso2022_jp iso2022_jp_1 iso2022_jp_2
iso2022_jp_2004 iso2022_jp_3 iso2022_jp_ext iso2022_kr johab shift_jis shift_jis_2004 shift_jisx0213"""

_IMPORTS = {
    COMPILE.name: (),
    "encodings.cjk": tuple(f"encodings.{name}" for name in _CJK.split()),
}
"""What parts bring along that are not called like the module to import."""

NAMES = (COMPILE.name, *_MODULES, EVERYTHING)
"""What `stdlib` may name."""


def imported_for(names: Collection[str]) -> tuple[str, ...]:
    """The Python modules that a build imports because `stdlib` names these parts."""
    return tuple(module for name in names if name != EVERYTHING for module in _IMPORTS.get(name, (name,)))


def keeps(names: Collection[str], part: Part) -> bool:
    """Whether `stdlib` keeps a part by naming these."""
    return part.name in names or EVERYTHING in names


def refused(names: Collection[str]) -> dict[str, str]:
    """The compiled modules that cannot be imported at run time unless the build imported them, and the parts that they belong to."""
    return {part.module: part.name for part in PARTS if part.module is not None and not keeps(names, part)}


def left_out(names: Collection[str], modules: Collection[str]) -> tuple[Part, ...]:
    """The parts that a module does without whose `stdlib` names `names` and in whose snapshot the Python modules `modules` are."""
    return tuple(part for part in PARTS if not keeps(names, part) and part.module not in modules)
