"""Operations, one declaration each, by family; importing this package fills the registry.

An op is an attribute of the package: ``ops.sin(x)``.
"""

from tracegrad.ops import access as access
from tracegrad.ops import arithmetic as arithmetic
from tracegrad.ops import banded as banded
from tracegrad.ops import bessel as bessel
from tracegrad.ops import bitwise as bitwise
from tracegrad.ops import callbacks as callbacks
from tracegrad.ops import comparison as comparison
from tracegrad.ops import constants as constants
from tracegrad.ops import control as control
from tracegrad.ops import conversion as conversion
from tracegrad.ops import decompositions as decompositions
from tracegrad.ops import exponential as exponential
from tracegrad.ops import factors as factors
from tracegrad.ops import hypergeometric as hypergeometric
from tracegrad.ops import incomplete as incomplete
from tracegrad.ops import indexing as indexing
from tracegrad.ops import integrals as integrals
from tracegrad.ops import linalg as linalg
from tracegrad.ops import loopform as loopform
from tracegrad.ops import ordering as ordering
from tracegrad.ops import products as products
from tracegrad.ops import reductions as reductions
from tracegrad.ops import rounding as rounding
from tracegrad.ops import scans as scans
from tracegrad.ops import selection as selection
from tracegrad.ops import spans as spans
from tracegrad.ops import special as special
from tracegrad.ops import tapes as tapes
from tracegrad.ops import trigonometric as trigonometric
from tracegrad.ops.registry import REGISTRY, OpDef


def __getattr__(name: str) -> OpDef:
    try:
        return REGISTRY[name]
    except KeyError:
        raise AttributeError(f"tracegrad.ops has no operation {name!r}") from None
