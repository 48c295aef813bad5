"""Scheduling: array form to loop form.

`schedule` fuses straight-line code and gives each region of control flow a nest of its own;
`schedule_regions` lowers loops, branches and writes in place.
"""

from tracegrad.schedule.pipeline import explain, schedule
from tracegrad.schedule.regions import copies, schedule_regions

__all__ = ["copies", "explain", "schedule", "schedule_regions"]
