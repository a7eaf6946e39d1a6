"""Foreign functions: what a proxy offers beyond the specification, by name.

The typed ones are those of Envoy (source/extensions/common/wasm/foreign.cc), whose arguments and results are bytes, numbers, or protobuf messages (ext/*.proto in the same
folder). A proxy may have fewer of them, or others: `call` reaches any.
"""

from binascii import Error as Base64Error
from binascii import a2b_base64
from enum import IntEnum
from struct import unpack
from typing import Self

from proxy_wasm.abi.enums import Status
from proxy_wasm.abi.hostcalls import HostError
from proxy_wasm.body import Data, octets
from proxy_wasm.errors import ExpressionError, PhaseError, UnknownForeignFunctionError
from proxy_wasm.host import PLUGIN, Host
from proxy_wasm.protobuf import Message, encode

HASH_FUNCTIONS = ("sha1", "sha224", "sha256", "sha384", "sha512")
"""What `verify_signature` and `sign` can hash with."""

_ARMOUR = b"-----BEGIN "
_UNUSABLE_KEY = "initialize"
"""In Envoy's words where it is the key that verification fails on (crypto_impl.cc, 1.36 to 1.40)."""


_WHERE = {
    "sign": "Envoy has it from 1.37 on",
    "expr_create": "Envoy has CEL expressions where it was built with the parser; the emulator has none",
}
"""Who has what not everybody has."""


class LifeSpan(IntEnum):
    """How long a value in the stream's filter state lives."""

    FILTER_CHAIN = 0
    """Until the stream is routed anew by an internal redirect."""
    DOWNSTREAM_REQUEST = 1
    """As long as the stream."""
    DOWNSTREAM_CONNECTION = 2
    """As long as the client's connection: later requests on it find the value."""


class PropertyType(IntEnum):
    """What expressions and access logs take a property's bytes for."""

    BYTES = 0
    STRING = 1
    FLATBUFFERS = 2
    PROTOBUF = 3


class ForeignFunctions:
    """The proxy's foreign functions; reached as `foreign_functions` of plugins and streams.

    Each raises `UnknownForeignFunctionError` where the proxy lacks it, and `HostError` where the proxy fails otherwise.
    """

    __slots__ = ("_context_id", "_host")

    def __init__(self, host: Host, context_id: int) -> None:
        self._host = host
        self._context_id = context_id

    def call(self, name: str, arguments: Data = b"", /) -> bytes:
        """Call any foreign function with `arguments` as it takes them; the bytes that it returns."""
        return self._call(name, octets(arguments))

    def _call(self, name: str, arguments: bytes = b"") -> bytes:
        hostcall = self._host.hostcalls.call_foreign_function
        try:
            return self._host.call_for(self._context_id, hostcall, name.encode(), arguments)
        except HostError as error:
            if error.status is Status.NOT_FOUND:
                raise UnknownForeignFunctionError(name, _WHERE.get(name, "")) from None
            raise

    # Cryptography

    def verify_signature(self, hash_function: str, public_key: Data, signature: bytes, text: Data) -> bool:
        """Whether `signature` is one of `text` by the owner of `public_key`.

        The key, an RSA or elliptic curve key, is a "SubjectPublicKeyInfo", in DER (bytes) or PEM. RSA signatures are those of PKCS #1 v1.5, elliptic curve
        signatures are DER. Raises `ValueError` for an unknown `hash_function` (see `HASH_FUNCTIONS`) or a key that cannot be read. In any callback.
        """
        arguments = encode(
            (1, _hash_function(hash_function)), (2, _der(public_key, "public_key")), (3, signature), (4, octets(text))
        )
        result = self._crypto("verify_signature", arguments, "public_key")
        if _UNUSABLE_KEY in result.text(2):
            msg = (
                "verify_signature: the proxy cannot use public_key: it is no RSA or elliptic curve key, or none at all"
            )
            raise ValueError(msg)
        return result.flag(1)

    def sign(self, hash_function: str, private_key: Data, text: Data) -> bytes:
        """A signature of `text`, in the form that `verify_signature` takes; Envoy has it from 1.37 on.

        The key, an RSA or elliptic curve key, is a "PrivateKeyInfo" (PKCS #8) without password, in DER (bytes) or PEM. Raises `ValueError` for an unknown
        `hash_function` (see `HASH_FUNCTIONS`) or a key that cannot be read. In any callback.
        """
        arguments = encode((1, _hash_function(hash_function)), (2, _der(private_key, "private_key")), (3, octets(text)))
        result = self._crypto("sign", arguments, "private_key")
        if not result.flag(1):
            msg = f"sign: the proxy could not use private_key: {result.text(3)}"
            raise ValueError(msg)
        return result.octets(2)

    def _crypto(self, name: str, arguments: bytes, key: str) -> Message:
        try:
            return Message(self._call(name, arguments))
        except HostError as error:
            if error.status is not Status.BAD_ARGUMENT:
                raise
            msg = f"{name}: the proxy cannot read {key}"
            raise ValueError(msg) from None

    # Compression

    def compress(self, data: Data, /) -> bytes:
        """`data` in zlib's form, at zlib's default level. In any callback."""
        return self._call("compress", octets(data))

    def uncompress(self, data: bytes, /) -> bytes:
        """What was compressed, zlib's form only (no gzip); `ValueError` where `data` is not that. In any callback."""
        try:
            return self._call("uncompress", data)
        except HostError as error:
            if error.status is not Status.SERIALIZATION_FAILURE:
                raise
            msg = f"uncompress: {len(data)} bytes that are not zlib's, or not all of them"
            raise ValueError(msg) from None

    # CEL

    def expression(self, text: str) -> "Expression":
        """A compiled CEL expression, such as `request.path.startsWith("/api")`; make it once, in `on_configure`.

        The proxy keeps it until `delete()`, or until the plugin is gone. Raises `ExpressionError` where it cannot be compiled.
        """
        try:
            token = self._call("expr_create", text.encode())
        except HostError as error:
            if error.status is not Status.BAD_ARGUMENT:
                raise
            msg = f'CEL expression {text!r}: the proxy cannot compile it; its log, at level info of "wasm", says where'
            raise ExpressionError(msg) from None
        return Expression(self._host, text, token)


class PluginForeignFunctions(ForeignFunctions):
    """`foreign_functions` of a plugin."""

    __slots__ = ("_declared",)

    def __init__(self, host: Host, context_id: int) -> None:
        super().__init__(host, context_id)
        self._declared: dict[str, bytes] = {}

    def declare_property(
        self,
        name: str,
        *,
        type: PropertyType = PropertyType.STRING,  # noqa: A002 - as Envoy names it
        span: LifeSpan = LifeSpan.FILTER_CHAIN,
        readonly: bool = False,
        schema: Data = b"",
    ) -> None:
        """Say what `set_property(name, ...)` of this plugin's streams will set; in `on_configure`.

        `type` is what CEL expressions, in access logs for example, take the value for; without a declaration it is bytes. `schema` is the type URL of a
        `PROTOBUF`, or the binary schema of a `FLATBUFFERS` property. `span` is how long the value lives, and `readonly` lets it be set only once.
        Raises `ValueError` where the plugin declared it otherwise before, `PhaseError` in a stream's callback.
        """
        if self._host.phase != PLUGIN:
            msg = f"declare_property({name!r}): properties are declared for all streams of a plugin; do it in on_configure"
            raise PhaseError(msg)
        arguments = encode((1, name), (2, readonly), (3, int(type)), (4, octets(schema)), (5, int(span)))
        if self._declared.get(name) == arguments:  # `on_configure` may run twice for one object
            return
        try:
            self._call("declare_property", arguments)
        except HostError as error:
            if error.status is not Status.BAD_ARGUMENT:
                raise
            msg = f"declare_property({name!r}): it was declared otherwise before"
            raise ValueError(msg) from None
        self._declared[name] = arguments


class StreamForeignFunctions(ForeignFunctions):
    """`foreign_functions` of a stream."""

    __slots__ = ()

    def clear_route_cache(self) -> None:
        """Have the proxy choose the stream's route anew, after a change of what routes look at; in callbacks of a request.

        Changing a request header through `Headers` does that already.
        """
        self._call("clear_route_cache", b"")

    def set_envoy_filter_state(self, key: str, value: str, *, span: LifeSpan = LifeSpan.FILTER_CHAIN) -> None:
        """Set one of the values that Envoy's own extensions look for in a stream's filter state, such as "envoy.tcp_proxy.cluster".

        The keys and what their values look like are in Envoy's documentation, "Well Known Filter State Objects". Raises `LookupError` for a key that the proxy does not
        know, and `ValueError` for a value that the key does not take.
        """
        try:
            self._call("set_envoy_filter_state", encode((1, key), (2, value), (3, int(span))))
        except UnknownForeignFunctionError:  # says the same of a key
            msg = f"set_envoy_filter_state: the proxy has no filter state object {key!r}"
            raise LookupError(msg) from None
        except HostError as error:
            if error.status is not Status.BAD_ARGUMENT:
                raise
            msg = f"set_envoy_filter_state: {key} does not take {value!r}"
            raise ValueError(msg) from None


class Expression:
    """A CEL expression over the attributes of the stream; made by `ForeignFunctions.expression`, and a context manager that deletes it.

    Its attributes are those of the context whose callback runs: in a stream's callback, the stream's, as far as they are known by then. After an
    `await` the callback is one of the plugin, which has no stream's attributes (Envoy, `expr_evaluate`: the current, not the effective context). A result
    has no type on the wire: call the method for the type that the expression has. All of them raise `ExpressionError` where the expression has no
    value, as `request.headers["x"]` without such a header.
    """

    __slots__ = ("_host", "_token", "text")

    def __init__(self, host: Host, text: str, token: bytes) -> None:
        self.text = text
        self._host = host
        self._token: bytes | None = token

    def __repr__(self) -> str:
        return f"<Expression {self.text}>"

    def evaluate(self) -> bytes:
        """The result's bytes: text and bytes as they are, numbers little-endian, maps and lists as serialized pairs, messages as protobuf."""
        if self._token is None:
            msg = f"CEL expression {self.text!r}: it was deleted"
            raise ExpressionError(msg)
        try:
            return self._host.hostcalls.call_foreign_function(b"expr_evaluate", self._token)
        except HostError as error:
            if error.status not in (Status.INTERNAL_FAILURE, Status.SERIALIZATION_FAILURE):
                raise
            msg = (
                f"CEL expression {self.text!r}: it has no value here (after an `await` it sees no stream); "
                'the proxy\'s log, at level debug of "wasm", may say why'
            )
            raise ExpressionError(msg) from None

    def evaluate_bool(self) -> bool:
        """The result of an expression of type `bool`."""
        return self._fixed(1, "bool") != b"\0"

    def evaluate_int(self) -> int:
        """The result of an expression of type `int`; of type `duration` or `timestamp` in nanoseconds (since 1970)."""
        return int.from_bytes(self._fixed(8, "int"), "little", signed=True)

    def evaluate_double(self) -> float:
        """The result of an expression of type `double`."""
        return unpack("<d", self._fixed(8, "double"))[0]

    def evaluate_text(self) -> str:
        """The result of an expression of type `string`."""
        return self.evaluate().decode("utf-8", "surrogateescape")

    def _fixed(self, size: int, what: str) -> bytes:
        result = self.evaluate()
        if len(result) != size:
            msg = f"CEL expression {self.text!r}: its result has {len(result)} bytes, it is no {what}"
            raise ExpressionError(msg)
        return result

    def delete(self) -> None:
        """Have the proxy forget it; it cannot be evaluated from then on."""
        token, self._token = self._token, None
        if token is not None:
            self._host.hostcalls.call_foreign_function(b"expr_delete", token)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.delete()


def _hash_function(name: str) -> str:
    if name not in HASH_FUNCTIONS:
        msg = f"hash_function {name!r}: the proxy knows {', '.join(HASH_FUNCTIONS)}"
        raise ValueError(msg)
    return name


def _der(key: Data, what: str) -> bytes:
    """A key in DER; Envoy takes PEM from 1.37 on only."""
    octets_of_key = octets(key)
    if not octets_of_key.lstrip().startswith(_ARMOUR):
        return octets_of_key
    lines = octets_of_key.strip().splitlines()
    try:
        return a2b_base64(b"".join(lines[1:-1]), strict_mode=True)
    except Base64Error as error:
        msg = f"{what}: no PEM of one key without password: {error}"
        raise ValueError(msg) from None
