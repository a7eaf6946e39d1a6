"""Functions that requests run through stand together in the module, and with that in the memory of a proxy.

V8 lays native code out in the order in which functions stand. CPython's stand as its sources do, so that a request of a small filter, which runs through some seventy
functions of 5,700, enters almost as many pages of memory, each of which the processor has to find anew when a filter's turn comes. Standing together they take a few
pages; a request takes a tenth less CPU.

The names are those of the functions that requests of the filters in `benchmarks/peers` run through, in the order in which they first do (as `wasm-opt --log-execution` of Binaryen
has them told, of modules linked with names). A name that no function has is passed over: the order changes nothing but time.
"""

from collections.abc import Iterable

from proxy_wasm.build.linker.program import Program

NAMES = """
stream_created let_go entry values Py_DecRef place id_object number PyLong_FromUnsignedLong _Py_NewReference Py_IncRef enter _Py_Dealloc long_dealloc
small_number made_plainly PyDict_GetItemWithError _Py_dict_lookup unicodekeys_lookup_unicode make keep insert stream_message known_method
PyObject_Vectorcall _PyFunction_Vectorcall _PyEval_Vector _PyEvalFramePushAndInit _PyThreadState_PushFrame _PyEval_EvalFrameDefault
headers_fingerprint pairs map_type same_name put_value memcpy lower siphash text allocate release PyDict_GetItemRef PyObject_Hash unicode_hash
Py_HashBuffer fnv memcmp PyObject_SetItem headers_assign headers___setitem__ utf8 octets splits _PyObjectArray_FromStackRefArray counter_increment
PyLong_AsUnsignedLong headers_discard _PyEval_FrameClearAndPop _PyFrame_ClearExceptCode unicode_dealloc release_block _PyThreadState_PopFrame at_rest
stream_done stream_deleted alone remove headers_multi_items PyList_New allocate_zeros pair PyTuple_New name_text PyUnicode_DecodeUTF8
unicode_decode_utf8 PyObject_GetIter list_iter _PyList_FromStackRefStealOnSuccess PyObject_Size unicode_length PyLong_FromSsize_t
_PyList_AppendTakeRefListResize reallocate list_dealloc PyObject_GC_UnTrack tuple_dealloc listiter_dealloc builtin_sum PyLong_FromLong
PyLong_AsLongAndOverflow PyIter_Next listiter_next PyErr_Occurred PyObject_Str PyErr_CheckSignals _Py_IsMainThread PyThread_get_thread_ident
__pthread_self_internal _PyInterpreterState_Main _PyErr_CheckSignalsTstate object_str long_to_decimal_string long_to_decimal_string_internal
long_alloc PyUnicode_New headers_add headers_get value _PyUnicode_Equal _PyUnicode_ExactDealloc PyType_GenericAlloc _PyType_AllocNoTrack
_PyObject_GC_Link _PyObject_InitInlineValues _Py_MakeCoro _PyObject_GC_NewVar gc_alloc settled method_vectorcall _PyFrame_PushUnchecked
PyObject_RichCompare PyType_IsSubtype long_richcompare PySequence_Contains tuple_contains PyObject_RichCompareBool PyObject_GetItem tuple_subscript
PyNumber_AsSsize_t _PyNumber_Index PyLong_AsSsize_t _PySet_Contains set_contains_lock_held set_contains_key PyObject_GenericHash set_lookkey
compactlongs_guard compactlongs_and _PyDict_FromItems dict_new_presized setitem_take2_lock_held insert_to_emptydict PyDict_SetItem insertdict gen_send
gen_send_ex gen_send_ex2 _PyTuple_FromStackRefStealOnSuccess tuple_hash none_hash tuple_richcompare long_hash request_map all_within PyDict_Next
_PyDict_Next PyBytes_FromStringAndSize put cfunction_vectorcall_NOARGS time_monotonic_ns PyTime_Monotonic __clock_gettime monotonic_clock_now
monotonic_clock _PyTime_AsLong PyLong_FromLongLong host_http_call PyBytes_AsStringAndSize _PyDict_SetItem_Take2 insert_combined_dict dictresize
build_indices_generic object_dealloc dict_dealloc dictkeys_decref _PyEval_GetAwaitable _PyCoro_GetAwaitableIter slot_am_await
maybe_call_special_no_args lookup_method_ex _PyType_LookupStackRefAndVersion PyObject_CallOneArg PyIter_Check PyObject_IsInstance
object_recursive_isinstance object_isinstance PyObject_IsTrue deque_len compactlongs_or _Py_CheckFunctionResult answer dict_get dict_pop PyDict_Pop
_PyDict_Pop_KnownHash delitem_common host_get_header_map_pairs taken host_get_buffer_bytes status_of status_number bytes_startswith
_Py_bytes_startswith _Py_bytes_tailmatch tailmatch PyBuffer_Release deque_append deque_append_lock_held deque_popleft host_set_effective_context
gen_dealloc PyObject_CallFinalizerFromDealloc _PyGen_Finalize PyObject_GC_Del PyErr_SetNone _PyErr_SetObject _PyErr_CreateException
_PyObject_MakeTpCall _PyTuple_FromArray type_call BaseException_new StopIteration_init PyException_GetTraceback _PyErr_Restore
_PyFrame_MakeAndSetFrameObject PyErr_GetRaisedException _PyFrame_New_NoTrack PyErr_SetRaisedException PyTraceBack_Here _PyObject_GC_New
PyObject_GC_Track PyException_SetTraceback BaseException___traceback___set_impl get_exception_handler _PyErr_GetRaisedException
PyErr_GivenExceptionMatches dict_length PyCell_New PyNumber_Invert long_invert _PyLong_FromSTwoDigits host_continue_stream cell_dealloc
StopIteration_dealloc BaseException_clear tb_dealloc frame_dealloc subtype_dealloc PyObject_ClearWeakRefs PyObject_ClearManagedDict
_PyObject_GetMethod _PyType_GetDict _PyType_LookupRef stream_get builtin_hasattr PyObject_GetOptionalAttr _PyObject_GenericGetAttrWithDict
PyObject_GetAttr _Py_type_getattro _Py_type_getattro_impl stream_entry stream_pop bytes_new _PyObject_LookupSpecial func_descr_get PyMethod_New
_Py_BaseObject_RichCompare object_richcompare method_dealloc object_init PyDict_New PyDescr_IsData getset_get object_get_class PyObject_GenericGetAttr
method_get PyCMethod_New PyBool_FromLong bytes_length bytes_subscript meth_dealloc bytes_decode PyUnicode_AsUTF8AndSize strlen
PyUnicode_FromEncodedObject PyUnicode_Decode unicode_check_encoding_errors _PyInterpreterState_GetConfig cfunction_vectorcall_FASTCALL_KEYWORDS_METHOD
_sre_SRE_Pattern_match PyType_GetModule state_init getstring sre_ucs1_match malloc dlmalloc sre_ucs1_count sre_ucs1_charset pattern_new_match
state_fini free dlfree _sre_SRE_Match_end match_getindex match_dealloc scanner_call PyArg_ParseTupleAndKeywords vgetargskeywords strchr __strchrnul
convertitem scan_once_unicode _parse_object_unicode scanstring_unicode PyUnicodeWriter_Create PyUnicode_Substring PyUnicodeWriter_Discard
PyDict_SetDefaultRef dict_setdefault_ref_lock_held PyLong_FromString long_from_non_binary_base maybe_small_long _parse_array_unicode
PyFloat_FromString _Py_string_to_number_with_underscores float_from_string_inner PyOS_string_to_double _Py_dg_strtod PyList_Append
_build_rval_index_tuple _PyDict_MergeEx dict_merge PyObject_Call _PyObject_Call object_new slot_tp_init _PyObject_Call_Prepend
_PyObject_VectorcallDictTstate _PyStack_UnpackDict PyObject_SetAttr _PyUnicode_InternMortal intern_common PyObject_GenericSetAttr
_PyObject_GenericSetAttrWithDict _PyObject_StoreInstanceAttribute store_instance_attr_lock_held insert_split_key PyNumber_Negative float_neg
PyFunction_New PyFunction_NewWithQualName _PyDict_LoadBuiltinsFromGlobals _PyFunction_SetVersion _PyObject_TryGetInstanceAttribute encoder_new
PyCFunction_GetFunction encoder_call encoder_listencode_obj encoder_listencode_dict PyLong_FromVoidPtr PyDict_Contains PyUnicodeWriter_WriteChar
_PyUnicodeWriter_PrepareInternal encoder_encode_key_value py_encode_basestring_ascii PyUnicodeWriter_WriteStr _PyUnicodeWriter_WriteStr resize_compact
_Py_NewReferenceNoTotal _copy_characters PyUnicodeWriter_WriteRepr _PyLong_FormatWriter encoder_listencode_list PySequence_Fast float_repr
PyOS_double_to_string _Py_dg_dtoa dshift lshift quorem diff Bfree multadd strncpy __stpncpy _Py_dg_freedtoa _PyUnicode_FromASCII _steal_accumulate
PyDict_DelItem delitem_knownhash_lock_held PyUnicodeWriter_Finish _PyUnicodeWriter_Finish PyTuple_Pack encoder_dealloc encoder_clear func_dealloc
func_clear float_dealloc unicode_join _PyUnicode_JoinArray unicode_encode PyUnicode_AsEncodedString unicode_encode_utf8 host_set_buffer_bytes
""".split()  # noqa: SIM905 - a list of so many takes a line for each
"""Of functions, CPython's and the linker's; first those of most requests."""


def placed(program: Program, numbers: Iterable[int]) -> list[int]:
    """`numbers` of functions in the order in which these are to stand: exports, those in `NAMES`, and all others as they come."""
    names = [unit.module.function_names() for unit in program.units]
    rank = {name: index for index, name in enumerate(NAMES)}
    exported = set(program.exports.values())

    def place(number: int) -> int:
        if number in exported:
            return -1
        function = program.functions[number]
        return rank.get(function.name or names[function.unit].get(function.index, ""), len(NAMES))

    return sorted(numbers, key=place)
