"""What a ``with`` block holds, and closes in the end."""

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self


class Closeable(ABC):
    """Is there from its making on, and until its block is left."""

    @abstractmethod
    def close(self) -> None:
        """Let it end."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
