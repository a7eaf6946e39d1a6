"""From the references in an extension's settings, "module:Class", to plugin classes."""

from collections.abc import Mapping
from importlib import import_module

from proxy_wasm.contexts import PluginContext
from proxy_wasm.errors import PluginReferenceError


def load(references: Mapping[str, str]) -> dict[str, type[PluginContext]]:
    """The plugin class of each `root_id`, importing its module.

    Raises `PluginReferenceError`, naming the reference, where it does not lead to a class derived from `PluginContext`. What a module itself raises while it is
    imported is raised as it is.
    """
    return {root_id: _plugin_class(reference) for root_id, reference in references.items()}


def _plugin_class(reference: str) -> type[PluginContext]:
    module_name, _, class_name = reference.partition(":")
    if not module_name or not class_name:
        msg = f'plugin {reference!r}: a reference is "module:Class", for example "greeter:Greeter"'
        raise PluginReferenceError(msg)
    try:
        module = import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise  # the module is there; something that it imports is not
        msg = f"plugin {reference!r}: there is no module {error.name!r}"
        raise PluginReferenceError(msg) from error
    plugin_class: object = getattr(module, class_name, None)
    if isinstance(plugin_class, type) and issubclass(plugin_class, PluginContext):
        return plugin_class
    if plugin_class is not None:
        msg = f"plugin {reference!r}: {class_name} is no class derived from PluginContext"
        raise PluginReferenceError(msg)
    candidates = [
        name for name, value in vars(module).items() if isinstance(value, type) and issubclass(value, PluginContext)
    ]
    offered = ", ".join(name for name in candidates if name != "PluginContext") or "no plugin class at all"
    msg = f"plugin {reference!r}: module {module_name} has no {class_name}; it has {offered}"
    raise PluginReferenceError(msg)
