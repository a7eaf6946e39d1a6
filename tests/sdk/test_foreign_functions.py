from collections.abc import Mapping

import pytest

from proxy_wasm import ExpressionError, HostError, PluginContext, Status
from proxy_wasm.emulator import Emulator, native_guest
from proxy_wasm.emulator.vm import ForeignFunction
from proxy_wasm.protobuf import Message, encode

plugins: list[PluginContext] = []


class Caller(PluginContext):
    def on_configure(self) -> None:
        plugins.append(self)


def plugin_with(functions: Mapping[str, ForeignFunction]) -> PluginContext:
    """A plugin in a proxy that has these functions; inside no callback, where a native host answers all the same."""
    Emulator(native_guest({"": Caller}), foreign_functions=functions).start_plugin()
    return plugins[-1]


def failing(status: Status) -> ForeignFunction:
    def fail(_: bytes) -> bytes:
        raise HostError("call_foreign_function", status)

    return fail


def test_a_function_of_ones_own_proxy_is_called_by_name() -> None:
    plugin = plugin_with({"double": lambda arguments: arguments * 2})
    assert plugin.foreign_functions.call("double", "ab") == b"abab"
    assert plugin.foreign_functions.call("double") == b""


def test_what_the_proxy_refuses_otherwise_is_raised_as_it_is() -> None:
    fail = failing(Status.INTERNAL_FAILURE)
    names = ("verify_signature", "sign", "compress", "uncompress", "expr_create", "declare_property")
    functions = plugin_with(dict.fromkeys(names, fail)).foreign_functions
    for use in (
        lambda: functions.call("compress"),
        lambda: functions.compress(""),
        lambda: functions.uncompress(b""),
        lambda: functions.verify_signature("sha256", b"key", b"", b""),
        lambda: functions.sign("sha256", b"key", b""),
        lambda: functions.expression("1"),
        lambda: functions.declare_property("x"),
    ):
        with pytest.raises(HostError, match="INTERNAL_FAILURE"):
            use()


def test_a_declaration_that_differs_from_the_first_is_an_error() -> None:
    functions = plugin_with({}).foreign_functions
    functions.declare_property("user")
    functions.declare_property("user")
    with pytest.raises(ValueError, match="declare_property\\('user'\\): it was declared otherwise before"):
        functions.declare_property("user", readonly=True)


class Expressions:
    """A proxy with expressions: their text is what they evaluate to."""

    def __init__(self) -> None:
        self.texts: dict[bytes, bytes] = {}

    def create(self, text: bytes) -> bytes:
        token = len(self.texts).to_bytes(4, "little")
        self.texts[token] = text
        return token

    def evaluate(self, token: bytes) -> bytes:
        return self.texts[token]

    def delete(self, token: bytes) -> bytes:
        del self.texts[token]
        return b""

    @property
    def functions(self) -> dict[str, ForeignFunction]:
        return {"expr_create": self.create, "expr_evaluate": self.evaluate, "expr_delete": self.delete}


def test_an_expression_is_deleted_where_its_block_ends() -> None:
    expressions = Expressions()
    with plugin_with(expressions.functions).foreign_functions.expression("1 + 1") as expression:
        assert expression.evaluate_text() == "1 + 1"
        assert repr(expression) == "<Expression 1 + 1>"
    assert expressions.texts == {}
    expression.delete()
    with pytest.raises(ExpressionError, match="it was deleted"):
        expression.evaluate()


def test_results_are_read_by_the_type_that_is_asked_for() -> None:
    expressions = Expressions()
    expression = plugin_with(expressions.functions).foreign_functions.expression("any")
    (token,) = expressions.texts
    expressions.texts[token] = b"\xfe" + b"\xff" * 7
    assert expression.evaluate_int() == -2
    for use, what in ((expression.evaluate_bool, "bool"), (expression.evaluate_double, "double")):
        expressions.texts[token] = b"xyz"
        with pytest.raises(ExpressionError, match=f"its result has 3 bytes, it is no {what}"):
            use()


def test_arguments_are_written_as_envoys_messages() -> None:
    sent: list[Message] = []

    def record(arguments: bytes) -> bytes:
        sent.append(Message(arguments))
        return encode((1, True), (2, b"signed"))

    functions = plugin_with({"verify_signature": record, "sign": record}).foreign_functions
    assert functions.verify_signature("sha256", b"der", b"signature", "text") is True
    assert functions.sign("sha512", b"der", "text") == b"signed"
    verified, signed = sent
    assert [verified.text(1), verified.octets(2), verified.octets(3), verified.octets(4)] == [
        "sha256",
        b"der",
        b"signature",
        b"text",
    ]
    assert [signed.text(1), signed.octets(2), signed.octets(3)] == ["sha512", b"der", b"text"]
