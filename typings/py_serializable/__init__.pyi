# cyclonedx-python-lib's classes go through this decorator, whose own type says that each is an intersection, which no checker knows.

from collections.abc import Callable
from typing import Any, TypeVar, overload

_T = TypeVar("_T")

@overload
def serializable_class(cls: None = None, **options: object) -> Callable[[type[_T]], type[_T]]: ...
@overload
def serializable_class(cls: type[_T], **options: object) -> type[_T]: ...
def __getattr__(name: str) -> Any: ...  # noqa: ANN401 - whatever else it has
