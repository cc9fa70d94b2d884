"""A population that is ranked at all times, however its members come and go.

Adding a member costs O(n) comparisons and a few changes of level instead of a ranking from scratch: Li, Deb,
Zhang, Suganthan and Zhang, "Efficient nondomination level update method for steady-state evolutionary
multiobjective optimization", IEEE Transactions on Cybernetics 47(9), 2017.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vilfredo import pareto
from vilfredo.pareto import Array, Indices


class Population:
    """At most `count` members that can be parents; a member is known by its number.

    Ranks and crowding distances are those of NSGA-II under Deb's constrained dominance. When there are
    too many, one of the last front goes: the most crowded, of equals the one that was added first. If all
    are feasible and the one that is added has the point of others, the first of these goes instead: where
    goals are counts, copies of one point would fill the population.
    Members that cannot be parents (`eligible=False`) do not count, and stay while nothing dominates them.

    Members live in slots, the rows of the arrays; a free slot has number -1 and rank -1.
    """

    def __init__(self, goals: int, count: int) -> None:
        self.count = count
        size = count + 1
        self.numbers = np.full(size, -1, dtype=np.int64)
        self.table = np.full((size, goals), np.inf)
        self.violations = np.full(size, np.inf)
        self.eligible = np.zeros(size, dtype=bool)
        self.ranks = np.full(size, -1, dtype=np.int64)
        self.crowding = np.zeros(size)
        self._ages = np.zeros(size, dtype=np.int64)  # the larger, the later added
        self._beats = np.zeros((size, size), dtype=bool)
        self._clock = 0

    def __contains__(self, number: int) -> bool:
        return bool((self.numbers == number).any())

    def rows(self) -> Indices:
        """The slots in use, the best first: by rank, then the latest added."""
        used = np.flatnonzero(self.ranks >= 0)
        return used[np.lexsort((-self._ages[used], self.ranks[used]))]

    def add(self, number: int, point: Array, violation: float, eligible: bool = True) -> None:
        """Takes in `point` (m,), all goals to be minimised, and lets go whoever is then too many.

        What is known of a number that is there already is replaced, and it keeps its age. The point may be
        inf where `violation` is above 0.
        """
        there = np.flatnonzero(self.numbers == number)
        if len(there):
            row = int(there[0])
            if (
                violation == self.violations[row]
                and eligible == self.eligible[row]
                and (point == self.table[row]).all()
            ):
                return
            age = self._ages[row]
            self._free(row)
            self._rank_all()
        else:
            if not (self.numbers < 0).any():
                self._grow()
            row = int(np.argmax(self.numbers < 0))
            self._clock += 1
            age = self._clock
        self.numbers[row], self.table[row], self.violations[row] = number, point, violation
        self.eligible[row], self._ages[row] = eligible, age
        changed = self._place(row)
        if not self.eligible.all() and self._drop_outsiders():
            return
        crowd = int(self.eligible.sum()) > self.count
        if crowd and (self.violations[self.eligible] == 0).all():
            twins = np.flatnonzero((self.table == point).all(axis=1) & self.eligible)
            if len(twins) > 1:  # the same point is there twice: nobody else need go
                self._free(twins[np.argmin(self._ages[twins])])
                crowd = False
        last = int(self.ranks[self.eligible].max()) if crowd else -1
        if crowd:
            changed.add(last)
        for level in changed:
            self._measure(level)
        if crowd:
            members = np.flatnonzero((self.ranks == last) & self.eligible)
            # As in the paper the distances are those from before this one went.
            self._free(members[np.lexsort((self._ages[members], self.crowding[members]))[0]])

    def remove(self, number: int) -> None:
        """Forgets a member; nothing happens if there is none of that number."""
        for row in np.flatnonzero(self.numbers == number):
            self._free(row)
            self._rank_all()

    def _place(self, row: int) -> set[int]:
        """Rank of a new row, and of those that it pushes back; the levels that changed."""
        violation, point = self.violations[row], self.table[row]
        used = self.ranks >= 0
        beats = used & (violation < self.violations)
        beaten = used & (violation > self.violations)
        if violation == 0:
            peers = used & (self.violations == 0)
            no_worse, no_better = peers.copy(), peers.copy()
            for value, column in zip(point, self.table.T, strict=True):
                no_worse &= value <= column
                no_better &= value >= column
            beats |= no_worse & ~no_better
            beaten |= no_better & ~no_worse
        self._beats[row], self._beats[:, row] = beats, beaten
        level = int(self.ranks[beaten].max(initial=-1)) + 1
        changed = {level}
        pushed = np.flatnonzero(beats & (self.ranks == level))
        self.ranks[row] = level
        while len(pushed):
            level += 1
            changed.add(level)
            there = np.flatnonzero(self.ranks == level)
            self.ranks[pushed] = level
            pushed = there[self._beats[np.ix_(pushed, there)].any(axis=0)]
        return changed

    def _measure(self, level: int) -> None:
        """Crowding distances within a level; of copies of a point the latest has it, the others 0."""
        members = np.flatnonzero(self.ranks == level)
        if len(members) == 0:
            return
        if self.violations[members[0]] > 0:
            self.crowding[members] = 0.0
            return
        members = members[np.argsort(-self._ages[members])]
        self.crowding[members] = pareto.crowding(self.table[members])

    def _drop_outsiders(self) -> bool:
        """Lets go those that cannot be parents and are dominated. True if that changed anything."""
        rows = np.flatnonzero(~self.eligible & (self.ranks > 0))
        for row in rows:
            self._free(row)
        if len(rows) == 0:
            return False
        self._rank_all()
        while int(self.eligible.sum()) > self.count:
            last = self.ranks[self.eligible].max()
            members = np.flatnonzero((self.ranks == last) & self.eligible)
            self._free(members[np.lexsort((self._ages[members], self.crowding[members]))[0]])
            self._rank_all()
        return True

    def _free(self, row: int | np.int64) -> None:
        self.numbers[row], self.ranks[row] = -1, -1
        self.eligible[row] = False
        self.violations[row], self.table[row] = np.inf, np.inf
        self._beats[row], self._beats[:, row] = False, False

    def _rank_all(self) -> None:
        """From scratch: after a removal that may let others rise."""
        used = np.flatnonzero(self.ranks >= 0)
        self.ranks[used] = pareto.ranks(self.table[used], self.violations[used])
        for level in range(int(self.ranks.max(initial=-1)) + 1):
            self._measure(level)

    def _grow(self) -> None:
        """Twice as many slots: there are many that cannot be parents."""
        size = len(self.numbers)

        def more(array: NDArray[Any], fill: float) -> NDArray[Any]:
            return np.concatenate([array, np.full_like(array, fill)])

        self.numbers, self.ranks = more(self.numbers, -1), more(self.ranks, -1)
        self.violations, self.table = more(self.violations, np.inf), more(self.table, np.inf)
        self.eligible, self.crowding = more(self.eligible, 0), more(self.crowding, 0)
        self._ages = more(self._ages, 0)
        self._beats = np.pad(self._beats, ((0, size), (0, size)))
