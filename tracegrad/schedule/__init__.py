"""Scheduling: array form to loop form."""

from tracegrad.schedule.pipeline import explain, schedule

__all__ = ["explain", "schedule"]
