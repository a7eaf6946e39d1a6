"""Asks an Open Policy Agent server for a decision on each request. README.md describes the configuration."""

import logging
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from opa_authz_cache import LARGEST_ENTRY, DecisionCache, Key, size_of
from opa_authz_config import BodyLimit, Settings
from opa_authz_decision import Decision, NoDecision, read_answer, with_parameters
from opa_authz_input import BadRequest, Question

from proxy_wasm import (
    Action,
    Body,
    CalloutError,
    CalloutResetError,
    CalloutTimeoutError,
    ConnectionFailedError,
    Headers,
    HttpCall,
    HttpContext,
    PhaseError,
    PluginContext,
    UnknownClusterError,
)

logger = logging.getLogger(__name__)

Result = Action | Coroutine[Any, Any, Action | None] | None
"""What a callback returns: at once, or when OPA has answered."""

_HEADERS = {"content-type": "application/json", "accept": "application/json"}
_FAILURES: tuple[tuple[type[CalloutError], str, str], ...] = (
    (CalloutTimeoutError, "timeout", "it did not answer in time"),
    (ConnectionFailedError, "connection", "it could not be reached"),
    (CalloutResetError, "reset", "its answer broke off"),
    (UnknownClusterError, "cluster", "the proxy has no such cluster"),
    (CalloutError, "connection", "it could not be asked"),
)
_ERROR_KINDS = ("timeout", "connection", "reset", "cluster", "status", "answer", "undefined", "decision")
_QUIET_SECONDS = 10
"""Failures of one kind are told of once in that time: all requests may fail at once."""
_NO_BODY = (
    "the body cannot be read before the headers go on; the plugin's configuration in Envoy needs allow_on_headers_stop_iteration: true "
    "(Envoy 1.35 and later, not in Istio), or with_request_body has to go"
)


class Asking:
    """OPA is being asked: one callout of the plugin's, which any number of streams may wait for.

    It belongs to none of them, so that a client that leaves takes no answer from others.
    """

    __slots__ = ("_call", "_decision", "_failure", "_plugin", "key", "sent")

    def __init__(self, plugin: "OpaAuthz", call: HttpCall, key: Key | None) -> None:
        self.sent = plugin.monotonic()
        self.key = key
        self._call = call
        self._plugin = plugin
        self._decision: Decision | None = None
        self._failure: tuple[str, str] | None = None
        call.add_done_callback(lambda _: self._settle())

    async def answer(self) -> Decision:
        """The decision, when it is there; raises `NoDecision`."""
        with suppress(CalloutError):  # the same for all who wait: see _settle
            await self._call
        self._settle()
        if self._decision is None:
            raise NoDecision(*(self._failure or ("answer", "there is none")))
        return self._decision

    def _settle(self) -> None:
        """Read the answer, whoever is the first to see it."""
        if self._decision is not None or self._failure is not None:
            return
        plugin = self._plugin
        try:
            response = self._call.result()
            self._decision = read_answer(response.status, response.content)
        except CalloutError as error:
            self._failure = next((kind, reason) for caught, kind, reason in _FAILURES if isinstance(error, caught))
        except NoDecision as error:
            self._failure = (error.kind, error.reason)
        else:
            plugin.keep(self, self._decision, len(response.content))
        plugin.answered(self, self._failure)


class OpaAuthz(PluginContext):
    """One configuration: what is asked, what was answered lately, and how often which decision was made."""

    def on_configure(self) -> None:
        self.settings = settings = Settings(self.configuration.json())
        caching = settings.caching
        self.cache = None if caching is None else DecisionCache[Decision](caching.ttl, caching.max_entries)
        self.under_way: dict[Key, Asking] = {}
        self._told: dict[str, float] = {}
        decisions = ("allowed", "denied", "refused", "failed_open", "failed_closed")
        self.decisions = {name: self.counter("opa_authz_requests", decision=name) for name in decisions}
        self.errors = {kind: self.counter("opa_authz_errors", kind=kind) for kind in _ERROR_KINDS}
        self.cache_results = {
            result: self.counter("opa_authz_cache", result=result) for result in ("hit", "miss", "merged")
        }
        self.milliseconds = self.histogram("opa_authz_milliseconds")

    def http_context(self) -> HttpContext["OpaAuthz"]:
        return OpaAuthzStream(self)

    def kept(self, question: Question) -> Decision | None:
        """A decision that was made for an equal question a while ago."""
        caching, cache = self.settings.caching, self.cache
        if caching is None or cache is None:
            return None
        question.key = tuple([part(question) for part in caching.key])
        decision = cache.get(question.key, self.monotonic())
        if decision is not None:
            self.cache_results["hit"].increment()
        return decision

    async def decide(self, question: Question) -> Decision:
        """OPA's decision on a request; raises `BadRequest`, or `NoDecision`."""
        caching, key = self.settings.caching, question.key
        if caching is None or key is None:
            return await self.ask(question).answer()
        asking = self.under_way.get(key)
        if asking is not None and self.monotonic() - asking.sent < caching.ttl:
            self.cache_results["merged"].increment()
        else:
            asking = self.ask(question)
            self.cache_results["miss"].increment()
            self.under_way[key] = asking
        return await asking.answer()

    def ask(self, question: Question) -> Asking:
        """Ask OPA; raises `BadRequest` where there is nothing to be asked."""
        settings = self.settings
        document = question.istio_input() if settings.is_istio else question.envoy_input(settings)
        call = self.http_call(
            settings.cluster,
            "POST",
            settings.path,
            headers=_HEADERS,
            body=f'{{"input": {document}}}',
            timeout=settings.timeout,
            authority=settings.authority,
        )
        return Asking(self, call, question.key)

    def keep(self, asking: Asking, decision: Decision, size: int) -> None:
        """Keep a decision for requests to come, unless it is too large."""
        if self.cache is not None and asking.key is not None and size + size_of(asking.key) <= LARGEST_ENTRY:
            self.cache.put(asking.key, decision, asking.sent, self.monotonic())

    def answered(self, asking: Asking, failure: tuple[str, str] | None) -> None:
        """OPA has answered, or will not."""
        if asking.key is not None and self.under_way.get(asking.key) is asking:
            del self.under_way[asking.key]
        now = self.monotonic()
        self.milliseconds.record(max(0, round((now - asking.sent) * 1000)))
        if failure is None:
            return
        kind, reason = failure
        self.errors[kind].increment()
        self.tell(kind, f"no decision from cluster {self.settings.cluster}: {reason}")

    def tell(self, kind: str, problem: str) -> None:
        """Log a problem, unless one of its kind was logged a moment ago."""
        now = self.monotonic()
        if now - self._told.get(kind, -_QUIET_SECONDS) >= _QUIET_SECONDS:
            self._told[kind] = now
            logger.warning("%s", problem)


class OpaAuthzStream(HttpContext[OpaAuthz]):
    """Has one request judged, and carries the decision out."""

    def __init__(self, plugin: OpaAuthz) -> None:
        super().__init__(plugin)
        self.decision: Decision | None = None

    def on_request_headers(self, headers: Headers, end_of_stream: bool) -> Result:
        # A plain function, which returns a coroutine only where it has to wait: a coroutine for a kept decision would cost a third more.
        plugin = self.plugin
        question = Question(headers.multi_items(), self.properties)
        limit = plugin.settings.body
        if limit is not None and (end_of_stream or question.is_upgrade):
            limit = None
        if limit is None:
            decision = plugin.kept(question)
            if decision is not None:
                return self.carry_out(headers, decision)
        return self.judge(headers, question, limit)

    # The SDK holds what these two are called for while the headers wait. Without them the module would not export the callbacks, and the
    # proxy could let a body go on, and its headers with it, before the request is judged.

    def on_request_body(self, body: Body, end_of_stream: bool) -> None:
        """Let the body follow the headers."""

    def on_request_trailers(self, trailers: Headers) -> None:
        """Let the trailers follow the headers."""

    async def judge(self, headers: Headers, question: Question, limit: BodyLimit | None) -> Action | None:
        """Have OPA decide, unless that can be known without it, and carry the decision out; with `limit` the body is part of the question."""
        plugin = self.plugin
        try:
            decision = None
            if limit is not None:
                await self.read_body(question, limit)
                decision = plugin.kept(question)
            if decision is None:
                decision = await plugin.decide(question)
        except BadRequest as bad:
            return self.refuse(400, str(bad))
        except TooLarge as bad:
            return self.refuse(413, str(bad))
        except NoBody as bad:
            plugin.tell("body", _NO_BODY)
            return self.refuse(plugin.settings.status_on_error, str(bad))
        except NoDecision as failure:
            return self.fail(failure)
        return self.carry_out(headers, decision)

    def carry_out(self, headers: Headers, decision: Decision) -> Action | None:
        """Let the request go on, or answer it, as the decision says."""
        self.decision = decision
        for name, value in decision.state:
            self.properties.set(f"opa_authz.{name}", value)
        if decision.allowed:
            self.allow(headers, decision)
            return None
        plugin = self.plugin
        plugin.decisions["denied"].increment()
        return self.send_local_response(
            decision.status, headers=decision.headers, body=decision.body, details=plugin.settings.denial_details
        )

    def on_response_headers(self, headers: Headers, end_of_stream: bool) -> None:
        if self.decision is not None and self.decision.response_headers:
            for name, value in self.decision.response_headers:
                headers.add(name, value)

    async def read_body(self, question: Question, limit: BodyLimit) -> None:
        """Wait for the body, or so much of it as is part of the question; raises `TooLarge`, or `NoBody` where it does not come."""
        try:
            body = await self.peek_request_body(limit.size + 1)
        except PhaseError:
            raise NoBody("the body cannot be read") from None
        question.is_truncated = len(body) > limit.size
        if question.is_truncated and not limit.allow_partial:
            raise TooLarge(f"the body has more than {limit.size} bytes")
        question.body = body[: limit.size]

    def allow(self, headers: Headers, decision: Decision) -> None:
        """Let the request go on, changed as the decision says."""
        self.plugin.decisions["allowed"].increment()
        replaced: set[str] = set()
        for name, value in decision.headers:
            if name in replaced:
                headers.add(name, value)
            else:
                headers[":authority" if name == "host" else name] = value
            replaced.add(name)
        for name in decision.headers_to_remove:
            if name in headers:  # removing what is not there would make the proxy choose the route again
                del headers[name]
        if decision.parameters_to_set or decision.parameters_to_remove:
            path = headers.get(":path", "")
            changed = with_parameters(path, decision)
            if changed != path:
                headers[":path"] = changed

    def refuse(self, status: int, reason: str) -> Action:
        """Deny what cannot be asked about."""
        self.plugin.decisions["refused"].increment()
        return self.send_local_response(status, details=f"opa_authz: {reason}")

    def fail(self, failure: NoDecision) -> Action | None:
        """Do what the configuration says for requests without a decision."""
        settings = self.plugin.settings
        if settings.failure_mode_allow:
            self.plugin.decisions["failed_open"].increment()
            return None
        self.plugin.decisions["failed_closed"].increment()
        return self.send_local_response(settings.status_on_error, details=f"opa_authz: no decision: {failure.reason}")


class TooLarge(Exception):  # noqa: N818 - a decision, not an error
    """The body has more bytes than may be asked about."""


class NoBody(Exception):  # noqa: N818 - a decision, not an error
    """The proxy holds the body back while the headers wait."""
