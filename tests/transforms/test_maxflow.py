"""Maximum flow and minimum cut."""

import itertools
import random

from tracegrad.transforms.maxflow import INFINITE, Network


def test_the_cut_is_minimal():
    """Against all cuts of small random networks."""
    chance = random.Random(0)
    for _ in range(60):
        names = ["s", "t", *range(chance.randint(1, 5))]
        edges = [
            (a, b, chance.choice([1.0, 2.0, 3.5, 7.0, INFINITE]))
            for a, b in itertools.permutations(names, 2)
            if chance.random() < 0.4 and a != "t" and b != "s"
        ]
        network = Network()
        for edge in edges:
            network.edge(*edge)
        found, near = network.minimum_cut("s", "t")
        best = INFINITE
        for size in range(len(names) - 1):
            for group in itertools.combinations(names[2:], size):
                side = {"s", *group}
                best = min(best, sum(c for a, b, c in edges if a in side and b not in side))
        assert found == best
        if best < INFINITE:
            assert sum(c for a, b, c in edges if a in near and b not in near) == best
