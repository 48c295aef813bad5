"""Verbs that are functions of traced values: tangents, Jacobians, Hessians, batches.

Each takes a user's function, traces it within the active trace, transforms it and appends the
result there. Outside a trace, `tracegrad.composed` compiles the verb itself.
"""
