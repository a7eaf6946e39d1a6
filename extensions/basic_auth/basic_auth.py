"""HTTP Basic authentication (RFC 7617) by host, path and method. README.md describes the configuration."""

import logging
from collections.abc import Sequence

from basic_auth_config import Rule, Settings, host_of, split_credentials
from basic_auth_memory import UNKNOWN, Memory
from basic_auth_paths import LONGEST_PATH, readings

from proxy_wasm import Action, Headers, HttpContext, PluginContext

logger = logging.getLogger(__name__)

LONGEST_PATH_FOR_REGEX = 2048
"""Characters, without the query; a regular expression may take a time that grows with the square of the length, or worse."""


class BasicAuth(PluginContext):
    """One configuration: its rules, and how often which decision was made."""

    def on_configure(self) -> None:
        self.settings = Settings(self.configuration.json() if self.configuration.raw else {})
        self.memory = Memory()
        self.allowed = self.counter("basic_auth_requests", decision="allowed")
        self.denied = self.counter("basic_auth_requests", decision="denied")
        self.unprotected = self.counter("basic_auth_requests", decision="unprotected")

    def http_context(self) -> HttpContext["BasicAuth"]:
        return BasicAuthStream(self)


class BasicAuthStream(HttpContext[BasicAuth]):
    """Judges one request."""

    def on_request_headers(self, headers: Headers, end_of_stream: bool) -> Action | int | None:
        plugin = self.plugin
        settings = plugin.settings
        memory = plugin.memory
        request = memory.request(headers)
        username = memory.decisions.get(request, UNKNOWN)
        if username == UNKNOWN:
            try:
                username = decide(settings, memory, headers)
            except Denied as denied:
                return self.refuse(denied)
            memory.remember_decision(request, username)
        name = settings.forward_username_header
        if name:
            if username is not None:
                headers[name] = username
            elif name in headers:  # removing what is not there would make the proxy choose the route again
                headers.discard(name)
        if username is None:
            plugin.unprotected.increment()
            return None
        plugin.allowed.increment()
        if settings.remove_authorization_header:
            headers.discard("authorization")
        return None

    def refuse(self, denied: "Denied") -> Action:
        """Answer that credentials are wanted."""
        logger.debug("denied: %s", denied)
        self.plugin.denied.increment()
        details = f"Request denied by Basic Auth check. {denied}"
        challenge = ("www-authenticate", self.plugin.settings.challenge)
        return self.send_local_response(401, headers=[challenge], details=details)


class Denied(Exception):  # noqa: N818 - a decision, not an error
    """The request is not let through; the message says why and goes to the response code details."""


def decide(settings: Settings, memory: Memory, headers: Headers) -> str | None:
    """The name of the request's user, `None` where no rule applies to it; raises `Denied`."""
    rules = matching_rules(settings, headers)
    return authenticate(rules, memory, headers.getall("authorization")) if rules else None


def matching_rules(settings: Settings, headers: Headers) -> Sequence[Rule]:
    """The rules that must accept the request; raises `Denied` where that cannot be told."""
    method = headers.get(":method", "")
    if not method and settings.rules:
        msg = "Its method cannot be judged."
        raise Denied(msg)
    candidates: Sequence[Rule] = settings.rules.get(method.upper(), ())
    if not candidates:
        return ()
    host = host_of(headers.get(":authority", "")) if settings.names_hosts else None
    if host is not None:
        candidates = [rule for rule in candidates if rule.hosts is None or host in rule.hosts]
        if not candidates:
            return ()
    has_regex = settings.has_regex and any(rule.has_regex for rule in candidates)
    paths = readings(headers.path(), LONGEST_PATH_FOR_REGEX if has_regex else LONGEST_PATH)
    if not paths:
        msg = "Its path cannot be judged."
        raise Denied(msg)
    rules = tuple([rule for rule in candidates if rule.matches_path(paths)])
    if settings.names_hosts and host is None and any(rule.hosts for rule in rules):
        msg = "Its host cannot be judged."
        raise Denied(msg)
    return rules


def authenticate(rules: Sequence[Rule], memory: Memory, values: list[str]) -> str:
    """The name of the user whose credentials, the values of `authorization`, every rule accepts; raises `Denied` if there is none."""
    if len(values) > 1:
        msg = "Several Authorization headers."
        raise Denied(msg)
    value = values[0] if values else ""
    fingerprint = memory.fingerprint(value)
    accepted = memory.accepted.get(fingerprint)
    if accepted is not None and (accepted[0] is rules or accepted[0] == rules):
        return accepted[1]
    username = verify(rules, value)
    memory.remember_accepted(fingerprint, rules, username)
    return username


def verify(rules: Sequence[Rule], authorization: str) -> str:
    """`authenticate` for a value of `authorization` that is not remembered."""
    scheme, _, encoded = authorization.strip(" ").partition(" ")
    if scheme.lower() != "basic":
        msg = "No Basic Authentication information found."
        raise Denied(msg)
    credentials = split_credentials(encoded.strip(" "))
    # Every rule is asked, so that the time taken does not tell which of them refused.
    verdicts = [rule.accepts(*credentials) for rule in rules] if credentials else []
    if credentials is None or not all(verdicts):
        msg = "Invalid username and/or password."
        raise Denied(msg)
    return credentials[0].decode("utf-8", "surrogateescape")
