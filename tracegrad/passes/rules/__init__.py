"""The rewrite rules, by what they look at; importing this package fills the table.

The order of the families is the order in which rules are tried: first what shrinks domains.
"""

# isort: off
from tracegrad.passes.rules import broadcasts as broadcasts
from tracegrad.passes.rules import access as access
from tracegrad.passes.rules import numbers as numbers
from tracegrad.passes.rules import powers as powers
from tracegrad.passes.rules import signs as signs
from tracegrad.passes.rules import selection as selection
from tracegrad.passes.rules import quotients as quotients
from tracegrad.passes.rules import reductions as reductions
from tracegrad.passes.rules import scans as scans
from tracegrad.passes.rules import products as products
from tracegrad.passes.rules import solutions as solutions
from tracegrad.passes.rules import symmetry as symmetry
from tracegrad.passes.rules import writes as writes
