"""A built-in function in place of `proxy_wasm.metrics.Counter.increment`, which most requests of most filters come to.

`counter_method(class, method, where its objects keep the metric's number)` makes the method; whatever is not as usual goes to `method`, the one in Python.
"""

from proxy_wasm.abi.signatures import CoreSignature
from proxy_wasm.build.linker.layouts import CLASS

API: dict[str, CoreSignature] = {
    "PyDescr_NewMethod": CoreSignature(("i32", "i32"), ("i32",)),
    "PyErr_Clear": CoreSignature((), ()),
}
"""What it calls of CPython's C API, besides what `proxy_wasm.build.linker.header_functions` does."""

FUNCTIONS = ("counter_method",)
"""Built-in functions for the guest."""
METHODS = ("increment",)
"""What `counter_method` makes a method of; it takes keywords, too."""


def functions_text(definition: int, hostcall: int) -> str:
    """The functions; `definition` is the address of that of `METHODS`, `hostcall` that of the hostcall's name."""
    return f"""
(global $offset_metric (mut i32) (i32.const 0))
(global $increment_in_python (mut i32) (i32.const 0))

(func $counter_method (param $self i32) (param $arguments i32) (param $count i32) (result i32)
  (global.set $increment_in_python (i32.load offset=4 (local.get $arguments)))
  (call $Py_IncRef (global.get $increment_in_python))
  (global.set $offset_metric (call $PyLong_AsUnsignedLong (i32.load offset=8 (local.get $arguments))))
  (call $PyDescr_NewMethod (i32.load (local.get $arguments)) (i32.const {definition})))

(func $counter_increment (param $self i32) (param $arguments i32) (param $count i32) (param $names i32) (result i32)
  (local $result i32) (local $metric i32) (local $value i64) (local $status i32)
  (block $done
    (block $unusual
      (br_if $unusual (local.get $names))
      (br_if $unusual (i32.eqz (local.tee $metric (i32.load (i32.add (local.get $self) (global.get $offset_metric))))))
      (local.set $value (i64.const 1))
      (if (local.get $count) (then
        (br_if $unusual (i32.ne (local.get $count) (i32.const 1)))
        (br_if $unusual (i32.ne (i32.load offset={CLASS} (i32.load (local.get $arguments))) (i32.load offset={CLASS} (global.get $zero))))
        (local.set $value (call $PyLong_AsLongLong (i32.load (local.get $arguments))))
        (if (i64.le_s (local.get $value) (i64.const 0)) (then
          (call $PyErr_Clear)
          (br $unusual)))))
      (local.set $status (call $proxy_increment_metric (call $PyLong_AsUnsignedLong (local.get $metric)) (local.get $value)))
      (if (local.get $status)
        (then (local.set $result (call $raise (global.get $refused) (i32.const {hostcall}) (local.get $status))))
        (else (local.set $result (global.get $none))))
      (br $done))
    (local.set $result (call $method (global.get $increment_in_python)
      (local.get $self) (local.get $arguments) (local.get $count) (local.get $names))))
  (local.get $result))
"""
