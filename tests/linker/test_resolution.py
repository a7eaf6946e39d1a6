"""Where imports lead, and what is said of those that lead nowhere."""

from typing import TYPE_CHECKING

import pytest

from proxy_wasm.build.errors import LinkError
from proxy_wasm.build.linker.resolution import (
    Callback,
    Definition,
    HostFunction,
    Resolution,
    Target,
    WasiFunction,
    wasi_interface,
)
from proxy_wasm.build.wasm.component import Component, read_component
from proxy_wasm.build.wasm.module import Kind

if TYPE_CHECKING:
    from conftest import Assemble


def resolve(component: Component, instance: int, kind: Kind = Kind.FUNCTION) -> list[Target]:
    """The definitions of what an instance imports."""
    resolution = Resolution(component)
    return [resolution.resolve_import(instance, item) for item in resolution.imported(instance, kind)]


def number(component: Component, module: int) -> int:
    """The first instance of a module."""
    return next(index for index, item in enumerate(component.core_instances) if getattr(item, "module", None) == module)


def test_an_import_leads_through_bags_and_reexports_to_its_definition(assemble: "Assemble") -> None:
    component = read_component(
        assemble("""(component
          (core module $base
            (memory (export "memory") 1) (table (export "table") 1 funcref) (global (export "g") i32 (i32.const 1))
            (func) (func (export "f")))
          (core module $relay
            (import "base" "f" (func $f)) (import "base" "memory" (memory 1)) (import "base" "g" (global i32))
            (export "again" (func $f)) (export "memory" (memory 0)) (export "g" (global 0)))
          (core module $user
            (import "env" "renamed" (func)) (import "relay" "again" (func)) (import "env" "memory" (memory 1))
            (import "relay" "g" (global i32)) (import "env" "table" (table 1 funcref)))
          (core instance $base (instantiate $base))
          (core instance $relay (instantiate $relay (with "base" (instance $base))))
          (core instance $env
            (export "renamed" (func $relay "again")) (export "memory" (memory $relay "memory"))
            (export "table" (table $base "table")))
          (core instance $user (instantiate $user (with "env" (instance $env)) (with "relay" (instance $relay)))))""")
    )
    user = number(component, 2)
    assert resolve(component, user) == [Definition(0, Kind.FUNCTION, 1)] * 2
    assert resolve(component, user, Kind.MEMORY) == [Definition(0, Kind.MEMORY, 0)]
    assert resolve(component, user, Kind.GLOBAL) == [Definition(0, Kind.GLOBAL, 0)]
    assert resolve(component, user, Kind.TABLE) == [Definition(0, Kind.TABLE, 0)]
    assert Resolution(component).symbol("again", Kind.FUNCTION) == Definition(0, Kind.FUNCTION, 1)
    assert Resolution(component).symbol("again", Kind.GLOBAL) is None
    assert Resolution(component).symbol("absent", Kind.FUNCTION) is None


SHIMMED = """
  (import "proxy-log" (func $log))
  (import "wasi:cli/exit@0.2.0" (instance $exit (export "exit" (func))))
  (alias export $exit "exit" (func $exit))
  (core module $shim
    (type $f (func))
    (table (export "$imports") 3 3 funcref)
    (func (export "0") i32.const 0 call_indirect (type $f))
    (func (export "1") i32.const 1 call_indirect (type $f))
    (func (export "2") i32.const 2 call_indirect (type $f)))
  (core module $fixup
    (import "" "$imports" (table 3 3 funcref))
    (import "" "0" (func $0)) (import "" "1" (func $1)) (import "" "2" (func $2))
    (elem (i32.const 0) func $0 $1 $2))
  (core module $main
    (import "env" "log" (func)) (import "env" "exit" (func)) (import "env" "own" (func)) (func (export "own")))
  (core instance $shim (instantiate $shim))
  (core instance $env
    (export "log" (func $shim "0")) (export "exit" (func $shim "1")) (export "own" (func $shim "2")))
  (core instance $main (instantiate $main (with "env" (instance $env))))
  (core func $log (canon lower (func $log)))
  (core func $exit (canon lower (func $exit)))
"""
FIXED = """
  (core instance $fixed
    (export "$imports" (table $shim "$imports"))
    (export "0" (func $log)) (export "1" (func $exit)) (export "2" (func $main "own")))
  (core instance (instantiate $fixup (with "" (instance $fixed))))
"""


def test_shim_and_fixup_drop_out(assemble: "Assemble") -> None:
    component = read_component(assemble(f"(component {SHIMMED} {FIXED})"))
    main = number(component, 2)
    assert resolve(component, main) == [
        HostFunction("proxy-log"),
        WasiFunction("wasi:cli/exit", "exit"),
        Definition(main, Kind.FUNCTION, 3),
    ]
    assert Resolution(component).instances == [main]


def test_a_fixup_that_leads_back_into_its_shim_is_refused(assemble: "Assemble") -> None:
    text = SHIMMED + FIXED.replace("(func $exit)", '(func $shim "0")')
    component = read_component(assemble(f"(component {text})"))
    with pytest.raises(LinkError, match=r"core instance 0 exports '1', which leads back to itself"):
        resolve(component, number(component, 2))


def test_a_fixup_without_an_export_of_the_shim_is_refused(assemble: "Assemble") -> None:
    text = SHIMMED + FIXED.replace('(export "1" (func $exit))', "")
    component = read_component(assemble(f"(component {text})"))
    with pytest.raises(LinkError, match=r"the fixup of core instance 0 imports no '1'"):
        resolve(component, number(component, 2))


def test_a_fixup_may_name_another_instance_than_a_bag(assemble: "Assemble") -> None:
    component = read_component(
        assemble("""(component
          (core module $m (import "" "f" (func)))
          (core module $f (func (export "f")) (table (export "$imports") 1 funcref))
          (core instance $f (instantiate $f))
          (core instance $m (instantiate $m (with "" (instance $f)))))""")
    )
    assert resolve(component, 1) == [Definition(0, Kind.FUNCTION, 0)]


def test_a_table_of_another_name_makes_no_shim(assemble: "Assemble") -> None:
    component = read_component(
        assemble("""(component
          (core module $a (table (export "$imports") 1 funcref))
          (core module $b (import "" "other" (table 1 funcref)))
          (core instance $a (instantiate $a))
          (core instance $b (instantiate $b (with "" (instance (export "other" (table $a "$imports")))))))""")
    )
    assert Resolution(component).instances == [number(component, module) for module in (0, 1)]


def test_a_fixup_whose_table_is_no_table_is_none(assemble: "Assemble") -> None:
    component = read_component(
        assemble("""(component
          (import "f" (func $f))
          (core func $f (canon lower (func $f)))
          (core module $m (import "" "$imports" (func)))
          (core instance $m (instantiate $m (with "" (instance (export "$imports" (func $f)))))))""")
    )
    instance = number(component, 0)
    assert Resolution(component).instances == [instance]
    assert resolve(component, instance) == [HostFunction("f")]


def test_a_missing_argument_is_named(assemble: "Assemble") -> None:
    component = read_component(
        assemble('(component (core module $m (import "env" "f" (func))) (core instance (instantiate $m)))')
    )
    with pytest.raises(LinkError, match=r"core instance 0 lacks the argument 'env', from which it imports 'f'"):
        resolve(component, 0)


@pytest.mark.parametrize(
    ("imported", "message"),
    [
        ('"bag" "absent" (func)', "core instance 1 exports no 'absent'"),
        ('"a" "absent" (func)', "core instance 0 exports no function 'absent'"),
        ('"a" "m" (func)', "core instance 0 exports no function 'm'"),
        ('"bag" "m" (func)', "core memory 0 stands where a function is expected"),
        ('"bag" "lost" (func)', "core instance 0 exports no function 'gone'"),
        ('"b" "f" (func)', "core module 1, export 'f': there is no function 7"),
    ],
)
def test_an_export_that_is_missing_or_of_another_kind_is_named(
    assemble: "Assemble", imported: str, message: str
) -> None:
    component = read_component(
        assemble(f"""(component
          (core module $a (func (export "f")) (memory (export "m") 1))
          (core module $b (export "f" (func 7)))
          (core module $m (import {imported}))
          (core instance $a (instantiate $a))
          (core instance $bag (export "m" (memory $a "m")) (export "lost" (func $a "gone")))
          (core instance $b (instantiate $b))
          (core instance $m (instantiate $m
            (with "bag" (instance $bag)) (with "a" (instance $a)) (with "b" (instance $b)))))""")
    )
    with pytest.raises(LinkError, match=message):
        resolve(component, number(component, 2))


def test_a_bag_cannot_be_linked_as_a_module(assemble: "Assemble") -> None:
    component = read_component(assemble("(component (core instance))"))
    with pytest.raises(
        LinkError, match=r"core instance 0 is a bag of exports where an instantiated module is expected"
    ):
        Resolution(component).module(0)


def test_what_the_component_defines_itself_cannot_be_lowered(assemble: "Assemble") -> None:
    component = read_component(
        assemble("""(component
          (core module $a (func (export "f")))
          (core module $m (import "env" "f" (func)))
          (core instance $a (instantiate $a))
          (func $lifted (canon lift (core func $a "f")))
          (core func $lowered (canon lower (func $lifted)))
          (core instance $m (instantiate $m (with "env" (instance (export "f" (func $lowered)))))))""")
    )
    with pytest.raises(LinkError, match=r"core function 1 lowers a function that the component defines itself"):
        resolve(component, number(component, 1))


def test_a_builtin_of_the_component_model_is_refused(assemble: "Assemble") -> None:
    component = read_component(
        assemble("""(component
          (type $r (resource (rep i32)))
          (core func $drop (canon resource.drop $r))
          (core module $m (import "env" "drop" (func (param i32))))
          (core instance $m (instantiate $m (with "env" (instance (export "drop" (func $drop)))))))""")
    )
    with pytest.raises(LinkError, match=r"core function 0 is a built-in of the component model, which proxies do not"):
        resolve(component, number(component, 0))


def test_imports_of_wasi_lead_to_wasi_without_its_version(assemble: "Assemble") -> None:
    component = read_component(
        assemble("""(component
          (core module $stub (func (export "now") unreachable) (func (export "reset_adapter_state")))
          (core module $m
            (import "wasi:clocks/wall-clock@0.2.0" "now" (func))
            (import "wasi_snapshot_preview1" "reset_adapter_state" (func)))
          (core instance $stub (instantiate $stub))
          (core instance $m (instantiate $m
            (with "wasi:clocks/wall-clock@0.2.0" (instance $stub)) (with "wasi_snapshot_preview1" (instance $stub)))))""")
    )
    assert resolve(component, 1) == [
        WasiFunction("wasi:clocks/wall-clock", "now"),
        WasiFunction("wasi_snapshot_preview1", "reset_adapter_state"),
    ]


@pytest.mark.parametrize(
    ("module", "interface"),
    [
        ("wasi:io/streams@0.2.3", "wasi:io/streams"),
        ("wasi:io/streams", "wasi:io/streams"),
        ("wasi_snapshot_preview1", "wasi_snapshot_preview1"),
        ("env", None),
        ("my:wasi/thing", None),
    ],
)
def test_wasi_interfaces_are_known_by_their_prefix(module: str, interface: str | None) -> None:
    assert wasi_interface(module) == interface


def test_a_callback_is_found_with_its_post_return(assemble: "Assemble") -> None:
    resolution = Resolution(
        read_component(
            assemble("""(component
              (import "again" (func $again))
              (core module $m (func (export "run") (result i32) i32.const 0) (func (export "after") (param i32)))
              (core instance $m (instantiate $m))
              (func (export "run") (result u32)
                (canon lift (core func $m "run") (post-return (core func $m "after"))))
              (func (export "bare") (result u32) (canon lift (core func $m "run")))
              (export "again" (func $again)))""")
        )
    )
    run, after = Definition(0, Kind.FUNCTION, 0), Definition(0, Kind.FUNCTION, 1)
    assert resolution.callback("run") == Callback(run, after)
    assert resolution.callback("bare") == Callback(run, None)
    with pytest.raises(LinkError, match=r"the component exports no function 'absent'"):
        resolution.callback("absent")
    with pytest.raises(LinkError, match=r"the exported function 'again' is not lifted from a core function"):
        resolution.callback("again")


def test_a_callback_that_goes_straight_to_the_host_is_refused(assemble: "Assemble") -> None:
    resolution = Resolution(
        read_component(
            assemble("""(component
              (import "done" (func $done))
              (core func $done (canon lower (func $done)))
              (func (export "run") (canon lift (core func $done))))""")
        )
    )
    with pytest.raises(LinkError, match=r"core function 0 is lifted, but no core module defines it"):
        resolution.callback("run")
