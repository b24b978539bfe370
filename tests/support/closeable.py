"""The base class of resources that a ``with`` block closes."""

from abc import ABC, abstractmethod
from typing import Self


class Closeable(ABC):
    """A resource that is open from its creation until the end of its ``with`` block."""

    @abstractmethod
    def close(self) -> None:
        """Release the resource."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
