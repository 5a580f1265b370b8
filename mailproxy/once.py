"""What is made once for a run of pyinfra, when its first host comes."""

from collections.abc import Callable
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

import gevent.lock
from pyinfra.api import State

T = TypeVar("T")


class Once(Generic[T]):
    """What was made for each pyinfra state.

    The making may wait, for the DNS for example, and pyinfra goes on with other hosts meanwhile: these wait for it.
    """

    def __init__(self) -> None:
        self._made: WeakKeyDictionary[State, T] = WeakKeyDictionary()
        self._making = gevent.lock.RLock()

    def get(self, state: State, make: Callable[[], T]) -> T:
        """Return what belongs to a state, which the first call makes."""
        with self._making:
            if state not in self._made:
                self._made[state] = make()
            return self._made[state]

    def __getitem__(self, state: State) -> T:
        """Return what was made for a state."""
        return self._made[state]
