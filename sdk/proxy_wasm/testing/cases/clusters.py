"""Canned answers as clusters of a test's proxy, and the requests that they got."""

import threading
from collections.abc import Mapping, Sequence

from proxy_wasm.emulator import UpstreamRequest, UpstreamResponse
from proxy_wasm.emulator.clusters import (
    Absent,
    Answering,
    Closing,
    Cluster,
    GrpcRefusal,
    GrpcServer,
    NoHosts,
    Silent,
    grpc_unary,
)
from proxy_wasm.testing.cases.comparison import request_differences
from proxy_wasm.testing.cases.model import Answer, ClusterPart, GrpcAnswer
from proxy_wasm.testing.proxy import respond

_TROUBLE: Mapping[str, Cluster] = {"silent": Silent(), "closing": Closing(), "absent": Absent(), "no hosts": NoHosts()}


class NoAnswer(Exception):  # noqa: N818 - says what happened
    """A cluster got a request for which the case has no answer."""


def response(answer: Answer) -> UpstreamResponse:
    """What an answer consists of."""
    return respond(answer.status, answer.headers, answer.body, answer.trailers, breaks=answer.breaks)


class CannedAnswers:
    """A cluster that gives the first of its answers that fits; called from several threads where the proxy is a real one."""

    def __init__(self, name: str, answers: Sequence[Answer]) -> None:
        self.requests: list[UpstreamRequest] = []
        """What it was asked, in order."""
        self._name = name
        self._answers = answers
        self._given = [0] * len(answers)
        self._lock = threading.Lock()

    def __call__(self, request: UpstreamRequest) -> UpstreamResponse:
        with self._lock:
            self.requests.append(request)
            for number, answer in enumerate(self._answers):
                if self._is_left(number) and _fits(answer, request):
                    self._given[number] += 1
                    return response(answer)
        raise NoAnswer(
            f"cluster {self._name} has no answer (left) for {request.method} {request.path}; add one that fits"
        )

    def _is_left(self, number: int) -> bool:
        times = self._answers[number].times
        return times is None or self._given[number] < times


def _fits(answer: Answer, request: UpstreamRequest) -> bool:
    return answer.when is None or not any(request_differences("", answer.when, request))


class Clusters:
    """The clusters of a case."""

    def __init__(self, parts: Mapping[str, ClusterPart]) -> None:
        self.served: dict[str, Cluster] = {}
        """By name, for the proxy."""
        self._canned: dict[str, CannedAnswers] = {}
        for name, part in parts.items():
            self.served[name] = self._serve(name, part)

    def requests(self, name: str) -> list[UpstreamRequest]:
        """Those that reached a cluster with answers, in order."""
        return self._canned[name].requests

    def _serve(self, name: str, part: ClusterPart) -> Cluster:
        if isinstance(part, str):
            return _TROUBLE[part]
        if isinstance(part, Mapping):
            return _grpc(part)
        self._canned[name] = CannedAnswers(name, part)
        return Answering(self._canned[name], delay=part[0].delay)


def _grpc(methods: Mapping[str, GrpcAnswer]) -> GrpcServer:
    def served(answer: GrpcAnswer, _: bytes) -> bytes:
        if answer.status:
            raise GrpcRefusal(answer.status, answer.error)
        return answer.message

    return grpc_unary(
        {method: lambda message, answer=answer: served(answer, message) for method, answer in methods.items()}
    )
