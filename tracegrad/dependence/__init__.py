"""Which elements of the results depend on which elements of the parameters.

An abstract run of the IR: a float is the set of parameter elements that it may depend on, an
integer is itself. `graph` holds the sets, `rules` says what each operation does to them, `program`
writes a function of the IR as Python text that works on them, `machine` runs loops and branches,
`analysis` puts it together. See docs/decisions/0029-sparse.md.
"""

from tracegrad.dependence.analysis import dependence as dependence
from tracegrad.dependence.graph import Pattern as Pattern
