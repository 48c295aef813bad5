"""The catalogue of plain Python programs with loops, branches and writes, all parts of it."""

from tests.integration import loop_programs_branches as branches
from tests.integration import loop_programs_effects as effects
from tests.integration import loop_programs_for as loops
from tests.integration import loop_programs_jumps as jumps
from tests.integration import loop_programs_models as models
from tests.integration import loop_programs_python as python
from tests.integration import loop_programs_returns as returns
from tests.integration import loop_programs_writes as writes
from tests.integration.loop_programs_base import PROGRAMS, LoopProgram

PARTS = (loops, jumps, returns, branches, python, effects, writes, models)

__all__ = ["PARTS", "PROGRAMS", "LoopProgram"]
