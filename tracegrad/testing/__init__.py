"""What the tests of tracegrad, and of functions that use it, compare with."""

from tracegrad.testing.numerics import assert_close as assert_close
from tracegrad.testing.numerics import numerical_jvp as numerical_jvp
