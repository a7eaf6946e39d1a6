"""Who defines what: every import of every core module, followed to the definition that it ends in.

An import names an instance argument; the argument is a bag of items or another instance; an item is an alias of some instance's
export; an export may itself be an import. The trail ends in a definition of a core module, in a function that the component
imports from its host, or in WASI, whose stubs are never followed: the linker supplies those functions itself.

wit-component breaks the cycle between the modules and their lowered imports with a pair of modules: a *shim* that exports functions
named "0", "1", ..., each a `call_indirect` through a table of its own, and a *fixup* that fills the table. A trail that reaches
the shim goes on at the fixup's import of the same name, so both modules drop out.
"""

from dataclasses import dataclass
from functools import cached_property

from proxy_wasm.build.errors import LinkError
from proxy_wasm.build.wasm.component import (
    Component,
    CoreItem,
    ExportBag,
    ImportedFunction,
    InstanceExport,
    Lifted,
    Lowered,
    ModuleInstance,
)
from proxy_wasm.build.wasm.module import Import, Kind, Module, read_module

SHIM_TABLE = "$imports"
"""The name under which wit-component's shim exports its table and the fixup imports it."""


@dataclass(frozen=True, slots=True)
class Definition:
    """Item `index` of instance `instance`, where it is defined rather than imported."""

    instance: int
    kind: Kind
    index: int


@dataclass(frozen=True, slots=True)
class HostFunction:
    """A function that the component's world imports."""

    name: str


@dataclass(frozen=True, slots=True)
class WasiFunction:
    """A function of a WASI interface (its version left out)."""

    interface: str
    name: str


Target = Definition | HostFunction | WasiFunction


@dataclass(frozen=True, slots=True)
class Callback:
    """An exported function of the world: the core function that it is lifted from, and its post-return function."""

    function: Definition
    post_return: Definition | None


def wasi_interface(module: str) -> str | None:
    """The WASI interface that an import module names, without version; `None` for any other module."""
    return module.partition("@")[0] if module.startswith(("wasi:", "wasi_")) else None


class Resolution:
    """Answers where the items of one component's core instances are defined.

    Its methods raise `LinkError` where a trail leads nowhere, and `MalformedError` where a core module cannot be read.
    """

    def __init__(self, component: Component) -> None:
        self._component = component
        self._modules: dict[int, Module] = {}
        self._exported: dict[int, dict[tuple[str, Kind], int]] = {}
        self._imported: dict[tuple[int, Kind], list[Import]] = {}

    def module(self, instance: int) -> Module:
        """The module that core instance `instance` is made of."""
        index = self._instance(instance).module
        if index not in self._modules:
            bounds = self._component.modules[index]
            self._modules[index] = read_module(self._component.data, *bounds, label=f"core module {index}, ")
        return self._modules[index]

    def _instance(self, index: int) -> ModuleInstance:
        instance = self._component.core_instances[index]
        if isinstance(instance, ExportBag):
            raise LinkError(f"core instance {index} is a bag of exports where an instantiated module is expected")
        return instance

    @cached_property
    def instances(self) -> list[int]:
        """The core instances that are instantiated modules, except for stubs that nothing refers to; in their order."""
        return [
            index
            for index, instance in enumerate(self._component.core_instances)
            if isinstance(instance, ModuleInstance) and index not in self._shims
        ]

    @cached_property
    def _shims(self) -> dict[int, int]:
        """Shim instances, each with the fixup that fills its table."""
        shims: dict[int, int] = {}
        for index, instance in enumerate(self._component.core_instances):
            if not isinstance(instance, ModuleInstance) or "" not in instance.arguments:
                continue
            bag = self._component.core_instances[instance.arguments[""]]
            if not isinstance(bag, ExportBag) or SHIM_TABLE not in bag.items:
                continue
            item = bag.items[SHIM_TABLE]
            definition = self._component.core[item.kind][item.index]
            if isinstance(definition, InstanceExport):
                shims[definition.instance] = index
                shims[index] = index
        return shims

    def _behind_shim(self, instance: int, name: str) -> Target:
        """The function that the fixup puts into the slot through which the shim calls what it exports as `name`."""
        fixup = self._instance(self._shims[instance])
        bag = self._component.core_instances[fixup.arguments[""]]
        item = bag.items.get(name) if isinstance(bag, ExportBag) else None
        if item is None:
            raise LinkError(f"the fixup of core instance {instance} imports no {name!r}")
        definition = self._component.core[item.kind][item.index]
        if isinstance(definition, InstanceExport) and definition.instance in self._shims:
            raise LinkError(f"core instance {instance} exports {name!r}, which leads back to itself")
        return self.resolve_item(item, Kind.FUNCTION)

    def resolve_import(self, instance: int, item: Import) -> Target:
        """Where what `instance` imports as `item` is defined."""
        interface = wasi_interface(item.module)
        if interface is not None:
            return WasiFunction(interface, item.name)
        arguments = self._instance(instance).arguments
        if item.module not in arguments:
            raise LinkError(
                f"core instance {instance} lacks the argument {item.module!r}, from which it imports {item.name!r}"
            )
        return self._resolve_export(arguments[item.module], item.name, item.kind)

    def _resolve_export(self, instance: int, name: str, kind: Kind) -> Target:
        source = self._component.core_instances[instance]
        if isinstance(source, ExportBag):
            if name not in source.items:
                raise LinkError(f"core instance {instance} exports no {name!r}")
            return self.resolve_item(source.items[name], kind)
        if instance in self._shims and kind is Kind.FUNCTION:
            return self._behind_shim(instance, name)
        index = self._exports(instance).get((name, kind))
        if index is None:
            raise LinkError(f"core instance {instance} exports no {kind.name.lower()} {name!r}")
        return self.resolve(instance, kind, index)

    def _exports(self, instance: int) -> dict[tuple[str, Kind], int]:
        if instance not in self._exported:
            module = self.module(instance)
            counts = {kind: module.count(kind) for kind in Kind}
            for export in module.exports:
                if export.index >= counts[export.kind]:
                    raise LinkError(
                        f"{module.label}export {export.name!r}: there is no {export.kind.name.lower()} {export.index}"
                    )
            self._exported[instance] = {(export.name, export.kind): export.index for export in module.exports}
        return self._exported[instance]

    def imported(self, instance: int, kind: Kind) -> list[Import]:
        """What `instance` imports of one kind, in the order of that index space."""
        if (instance, kind) not in self._imported:
            self._imported[instance, kind] = self.module(instance).imported(kind)
        return self._imported[instance, kind]

    def resolve(self, instance: int, kind: Kind, index: int) -> Target:
        """Where item `index` of `instance` is defined: there, or wherever it is imported from."""
        imported = self.imported(instance, kind)
        if index < len(imported):
            return self.resolve_import(instance, imported[index])
        return Definition(instance, kind, index)

    def resolve_item(self, item: CoreItem, kind: Kind) -> Target:
        """Where an item of the component's core index spaces is defined; it must be of that kind."""
        if item.kind is not kind:
            raise LinkError(
                f"core {item.kind.name.lower()} {item.index} stands where a {kind.name.lower()} is expected"
            )
        definition = self._component.core[item.kind][item.index]
        match definition:
            case InstanceExport(instance, name):
                return self._resolve_export(instance, name, item.kind)
            case Lowered(function):
                target = self._component.functions[function]
                if isinstance(target, ImportedFunction):
                    interface = wasi_interface(target.instance)
                    return HostFunction(target.name) if interface is None else WasiFunction(interface, target.name)
                raise LinkError(f"core function {item.index} lowers a function that the component defines itself")
            case _:
                raise LinkError(
                    f"core function {item.index} is a built-in of the component model, which proxies do not have"
                )

    def callback(self, name: str) -> Callback:
        """The function that the component exports as `name`."""
        if name not in self._component.exports:
            raise LinkError(f"the component exports no function {name!r}")
        function = self._component.functions[self._component.exports[name]]
        if not isinstance(function, Lifted):
            raise LinkError(f"the exported function {name!r} is not lifted from a core function")
        post_return = function.post_return
        return Callback(
            self._core_function(function.core_function),
            None if post_return is None else self._core_function(post_return),
        )

    def _core_function(self, index: int) -> Definition:
        target = self.resolve_item(CoreItem(Kind.FUNCTION, index), Kind.FUNCTION)
        if not isinstance(target, Definition):
            raise LinkError(f"core function {index} is lifted, but no core module defines it")
        return target

    def symbol(self, name: str, kind: Kind) -> Definition | None:
        """What the first instance that exports `name` itself defines under it; `None` where there is no such symbol."""
        for instance in self.instances:
            index = self._exports(instance).get((name, kind))
            target = None if index is None else self.resolve(instance, kind, index)
            if isinstance(target, Definition):
                return target
        return None
