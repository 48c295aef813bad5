"""Maximum flow and minimum cut of small networks, by Dinic's algorithm."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable

INFINITE = float("inf")


class Network:
    """Nodes are any hashable things; parallel edges add up.

    Notes
    -----
    Dinic, *Algorithm for solution of a problem of maximum flow in networks with power
    estimation*, Soviet Math. Doklady 11 (1970).
    """

    def __init__(self) -> None:
        self._number: dict[Hashable, int] = {}
        self._edges: list[list[int]] = []  # of a node: its edges; edge e and e ^ 1 are a pair
        self._target: list[int] = []
        self._room: list[float] = []

    def node(self, name: Hashable) -> int:
        number = self._number.setdefault(name, len(self._edges))
        if number == len(self._edges):
            self._edges.append([])
        return number

    def edge(self, source: Hashable, target: Hashable, capacity: float) -> None:
        for start, end, room in (
            (source, target, capacity),
            (target, source, 0.0),
        ):
            self._edges[self.node(start)].append(len(self._target))
            self._target.append(self.node(end))
            self._room.append(room)

    def minimum_cut(self, source: Hashable, sink: Hashable) -> tuple[float, set[Hashable]]:
        """The capacity of a minimum cut, and the nodes on the side of ``source``.

        The capacity is infinite when every cut is; the nodes then mean nothing.
        """
        s, t = self.node(source), self.node(sink)
        total = 0.0
        while True:
            level = self._levels(s)
            if level[t] < 0:
                names = list(self._number)
                return total, {names[k] for k, depth in enumerate(level) if depth >= 0}
            tried = [0] * len(self._edges)
            while pushed := self._push(s, t, level, tried):
                total += pushed
                if total == INFINITE:
                    return INFINITE, set()

    def _levels(self, source: int) -> list[int]:
        """The distance of each node from ``source`` over edges with room; -1 if out of reach."""
        level = [-1] * len(self._edges)
        level[source] = 0
        waiting = deque([source])
        while waiting:
            node = waiting.popleft()
            for edge in self._edges[node]:
                target = self._target[edge]
                if self._room[edge] > 0 and level[target] < 0:
                    level[target] = level[node] + 1
                    waiting.append(target)
        return level

    def _push(self, source: int, sink: int, level: list[int], tried: list[int]) -> float:
        """Push along one shortest path with room; 0 when there is none left."""
        path: list[int] = []
        node = source
        while node != sink:
            edges = self._edges[node]
            while tried[node] < len(edges):
                edge = edges[tried[node]]
                target = self._target[edge]
                if self._room[edge] > 0 and level[target] == level[node] + 1:
                    break
                tried[node] += 1
            else:
                if not path:
                    return 0.0
                node = self._target[path.pop() ^ 1]
                tried[node] += 1
                continue
            path.append(edge)
            node = target
        amount = min(self._room[edge] for edge in path)
        for edge in path:
            self._room[edge] -= amount
            self._room[edge ^ 1] += amount
        return amount
