"""Workloads written once in plain NumPy, timed side by side: ``python -m benchmarks --help``."""
