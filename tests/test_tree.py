"""Trees of arguments and results."""

import dataclasses
import subprocess
import sys
from typing import Any, NamedTuple

import numpy as np
import pytest

from tracegrad.tree import LEAF, Structure, flatten, is_plain, names, unflatten


class Pair(NamedTuple):
    left: Any
    right: Any


@dataclasses.dataclass
class Layer:
    weight: Any
    bias: Any
    steps: int = dataclasses.field(default=7, init=False)


@pytest.mark.parametrize(
    "tree",
    [
        1.0,
        (1.0, 2.0),
        (),
        None,
        [1.0, (2.0, None)],
        {"b": 1.0, "a": [2.0]},
        Pair(1.0, Layer(2.0, None)),
        ((1.0,),),
        "text",
    ],
    ids=str,
)
def test_unflatten_undoes_flatten(tree):
    leaves, structure = flatten(tree)
    assert structure.leaves == len(leaves)
    assert unflatten(structure, leaves) == tree
    assert flatten(tree)[1] == structure
    assert hash(flatten(tree)[1]) == hash(structure)


def test_a_dicts_order_does_not_matter_and_is_kept():
    tree = {"z": 1.0, "a": 2.0}
    leaves, structure = flatten(tree)
    assert leaves == [2.0, 1.0]
    assert flatten({"a": 2.0, "z": 1.0})[1] == structure
    assert list(unflatten(structure, leaves)) == ["z", "a"]


def test_one_shape_has_one_structure_however_it_was_found():
    assert flatten((1.0, 2.0))[1] == flatten((1.0, "x"))[1] == Structure(2)
    assert flatten("x")[1] is LEAF


def test_a_frozen_dataclass_with_a_check_takes_any_leaf():
    @dataclasses.dataclass(frozen=True)
    class Checked:
        value: Any

        def __post_init__(self):
            assert isinstance(self.value, float)

    _, structure = flatten(Checked(1.0))
    assert unflatten(structure, ["not a float"]).value == "not a float"


def test_names_are_python():
    _, structure = flatten({"w": [1.0, Pair(2.0, Layer(3.0, 4.0))]})
    assert names(structure, "p") == [
        "p['w'][0]",
        "p['w'][1].left",
        "p['w'][1].right.weight",
        "p['w'][1].right.bias",
    ]
    assert names(Structure(2), "x") == ["x[0]", "x[1]"]


def test_plain_values_are_told_quickly():
    assert all(map(is_plain, [1.0, 1, True, np.float32(1), np.ones(2)]))
    assert not any(map(is_plain, [None, "a", [1.0], {"a": 1.0}]))


def test_plain_arguments_never_import_optree():
    code = "import sys, tracegrad.tree as t; t.flatten((1.0, 2)); print('optree' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"
