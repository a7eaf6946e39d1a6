"""Files of cases as pytest collects them: a test for each case and host."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from proxy_wasm.testing.cases.errors import CasesError
from proxy_wasm.testing.cases.files import filter_of, hosts_of, load
from proxy_wasm.testing.cases.model import Case
from proxy_wasm.testing.cases.report import lines_of
from proxy_wasm.testing.cases.runner import Result, run_case
from proxy_wasm.testing.extension import Extension
from proxy_wasm.testing.hosts import HostName
from proxy_wasm.testing.session import SESSION


class CasesCollector(pytest.File):
    """A file of cases."""

    @classmethod
    def made(cls, parent: pytest.Collector, path: Path) -> "CasesCollector":
        return cls.from_parent(parent, path=path)  # pyright: ignore[reportUnknownMemberType] - pytest leaves its options untyped

    def collect(self) -> Iterator["CaseItem"]:
        try:
            file = load(self.path)
            extension = self.config.stash[SESSION].extension(filter_of(file))
        except CasesError as error:
            raise self.CollectError(str(error)) from error
        for case in file.cases:
            for host in hosts_of(case, extension):
                name = f"{case.name}[{host}]"
                yield CaseItem.made(self, name=name, case=case, extension=extension, proxy_host=host)


class CaseItem(pytest.Item):
    """A case on a host."""

    @classmethod
    def made(cls, parent: CasesCollector, **options: Any) -> "CaseItem":  # noqa: ANN401 - those of `__init__`
        return cls.from_parent(parent, **options)  # pyright: ignore[reportUnknownMemberType] - as above

    def __init__(
        self,
        *,
        case: Case,
        extension: Extension,
        proxy_host: HostName,
        **options: Any,  # noqa: ANN401 - pytest's own
    ) -> None:
        super().__init__(**options)  # pyright: ignore[reportUnknownMemberType] - as above
        self.proxy_host: HostName = proxy_host
        """Where it runs; the plugin selects by it."""
        self._case = case
        self._extension = extension

    def runtest(self) -> None:
        result = run_case(self._case, self.config.stash[SESSION].host(self.proxy_host), self._extension)
        if result.failure is not None:
            raise CaseFailed(result)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:  # noqa: ANN401 - as pytest has it
        if isinstance(excinfo.value, CaseFailed):
            return "\n".join(lines_of(excinfo.value.result))
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Any, int, str]:
        return self.path, self._case.line - 1, self.name


class CaseFailed(Exception):  # noqa: N818 - says what happened
    """A case failed."""

    def __init__(self, result: Result) -> None:
        super().__init__(result.case.name)
        self.result = result
