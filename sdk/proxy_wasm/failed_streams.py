"""What takes the place of an author's stream object that has failed, so that it hears no more of its stream."""

from typing import Any

from proxy_wasm.abi.enums import Action
from proxy_wasm.body import Body
from proxy_wasm.contexts import HttpContext
from proxy_wasm.tcp import TcpContext


class NotMadeError(Exception):
    """Raised in place of a callback for a stream whose object could not be made; the cause was logged then."""


def _fail(_stream: HttpContext[Any], *_arguments: object) -> Action:
    raise NotMadeError


def _pause(_stream: HttpContext[Any], *_arguments: object) -> Action:
    return Action.PAUSE


class Unmade(HttpContext[Any]):
    """For a stream whose object could not be made: fails at its first callback."""

    __slots__ = ()
    on_request_headers = on_request_body = on_request_trailers = _fail
    on_response_headers = on_response_body = on_response_trailers = _fail


class Passed(HttpContext[Any]):
    """For streams that go on unfiltered. One object stands for all of them, so its own state means nothing."""

    __slots__ = ()


class Answered(HttpContext[Any]):
    """For streams that were answered: the request goes nowhere, the answer passes. One object for all of them."""

    __slots__ = ()
    on_request_headers = on_request_body = on_request_trailers = _pause


class Closed(HttpContext[Any]):
    """For streams that were closed: nothing passes any more. One object for all of them."""

    __slots__ = ()
    on_request_headers = on_request_body = on_request_trailers = _pause
    on_response_headers = on_response_body = on_response_trailers = _pause


class UnmadeConnection(TcpContext[Any]):
    """For a connection whose object could not be made: fails at its first callback."""

    __slots__ = ()

    def on_new_connection(self) -> Action:
        raise NotMadeError

    def on_downstream_data(self, _data: Body, _end_of_stream: bool, /) -> Action:
        raise NotMadeError

    on_upstream_data = on_downstream_data


class PassedConnection(TcpContext[Any]):
    """For a connection that goes on unfiltered."""

    __slots__ = ()


class ClosedConnection(TcpContext[Any]):
    """For a connection that is being closed: nothing passes any more."""

    __slots__ = ()

    def on_new_connection(self) -> Action:
        return Action.PAUSE

    def on_downstream_data(self, _data: Body, _end_of_stream: bool, /) -> Action:
        return Action.PAUSE

    on_upstream_data = on_downstream_data
