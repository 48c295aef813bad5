"""Hooks that pass everything through: a staged function is to do what the plain one does."""

import operator
from types import FunctionType

from tracegrad.staging import PlainControl, is_staged, stage

OPERATORS = {
    "+": operator.iadd,
    "-": operator.isub,
    "*": operator.imul,
    "/": operator.itruediv,
}


class PassThrough(PlainControl):
    """Plain answers; helpers are staged in turn."""

    def enter(self, function):
        return self

    def call(self, function):
        if isinstance(function, FunctionType) and not is_staged(function):
            return stage(function, self)
        return function

    def name(self, value, name):
        return value

    def attribute(self, owner, name):
        return getattr(owner, name)

    def item(self, owner, key):
        return owner[key]

    def inplace(self, operator, old, value):
        return OPERATORS[operator](old, value)

    def stored(self, owner, name):
        return owner

    def stored_item(self, owner):
        return owner
