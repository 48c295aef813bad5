"""``python -m tracegrad``: the command line."""

from tracegrad.inspect.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
