"""Makes items in a thread, a few before they are wanted: while a GPU trains, the CPU has time."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import Generic, Self, TypeVar

_Item = TypeVar("_Item")
_POLL_S = 0.1


class Prefetched(Generic[_Item]):
    """An iterator over items that a thread of its own makes; leaving the block ends the thread.

    What the thread raises is raised where its item would have been.
    """

    def __init__(self, items: Iterable[_Item], ahead: int = 4) -> None:
        self._items = items
        self._made: queue.Queue[tuple[bool, _Item | BaseException | None]] = queue.Queue(ahead)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._make, name="prefetch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def __iter__(self) -> Iterator[_Item]:
        return self

    def __next__(self) -> _Item:
        is_item, made = self._made.get()
        if is_item:
            return made  # type: ignore[return-value]
        self._made.put((False, made))  # whoever asks again gets the same answer
        raise StopIteration if made is None else made  # type: ignore[misc]

    def _make(self) -> None:
        try:
            for item in self._items:
                if not self._put(True, item):
                    return
            self._put(False, None)
        except BaseException as error:  # the thread that trains has to know
            self._put(False, error)

    def _put(self, is_item: bool, made: _Item | BaseException | None) -> bool:
        """Hand over what was made, when there is room; tell whether anybody wants more."""
        while not self._stopping.is_set():
            try:
                self._made.put((is_item, made), timeout=_POLL_S)
            except queue.Full:
                continue
            return True
        return False
