"""tracegrad: compiled gradients for NumPy code."""

__version__ = "0.1.0"
