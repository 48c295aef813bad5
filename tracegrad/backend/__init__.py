"""tracegrad."""
