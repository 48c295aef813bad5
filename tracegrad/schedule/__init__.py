"""Scheduling: array form to loop form.

`schedule` fuses straight-line code, and lowers loops, branches and writes in place.
"""

from tracegrad.schedule.entry import explain, explain_threads, schedule
from tracegrad.schedule.regions import copies

__all__ = ["copies", "explain", "explain_threads", "schedule"]
