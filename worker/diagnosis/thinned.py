"""A sequence of bounded length, thinned evenly as more comes."""

from collections.abc import Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Thinned(Generic[Item]):
    """Of all items that came, every one at first, then every second, every fourth, ..., and always the last.

    Args:
        most: how many are kept, the last one not counted; an even number.
    """

    def __init__(self, most: int) -> None:
        self._most, self._stride, self._came = most, 1, 0
        self._kept: list[Item] = []
        self._last: list[Item] = []

    def __iter__(self) -> Iterator[Item]:
        yield from self._kept
        yield from self._last

    def takes_next(self) -> bool:
        """Whether the next item is one of those that stay, for now."""
        return self._came % self._stride == 0

    def skip(self) -> None:
        """Count an item that is not handed over."""
        self._came += 1

    def add(self, item: Item) -> None:
        """Take the next item."""
        self._last = []
        if not self.takes_next():
            self._last = [item]
        else:
            self._kept.append(item)
            if len(self._kept) > self._most:
                self._kept = self._kept[::2]
                self._stride *= 2
        self._came += 1
