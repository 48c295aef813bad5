"""A pool of threads that runs the chunks of one loop at a time, without Python.

The pool is a small LLVM module, built when it is first asked for. Kernels find its function ``run``
under the name `RUN`. There are no threads before the first loop that wants them; a child
process starts its own.

``run(chunk, closure, chunks)`` calls ``chunk(closure, c)`` for each c in ``range(chunks)``. The
calling thread takes chunks as the workers do, by counting up ``next``, so nothing waits for a
worker that wakes up late. The pool has one job at a time: who finds it busy (another thread of the
user's, or a chunk that calls a kernel) does all its chunks by itself.

A worker that has nothing to do looks out for a job for about 20 µs, then sleeps.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba.core.registry import cpu_target

from tracegrad.backend.threads import _state, cores

__all__ = ["RUN", "STATE", "start"]

RUN = "tracegrad_run_chunks"
STATE = "tracegrad_threads"

SPINS = 500

_word = ir.IntType(64)
_int = ir.IntType(32)
_address = ir.IntType(8).as_pointer()
_chunk = ir.FunctionType(ir.VoidType(), [_address, _word])

#: Room for a mutex or a condition of any system.
_room = ir.ArrayType(_word, 16)

_started: list[Any] = []


def start() -> None:
    """Make the pool known to the kernels of this process; it has no threads yet."""
    if _started:
        return
    _ = cpu_target.target_context  # LLVM is set up
    engine = _engine()
    _started.append(engine)
    # Workers may run until the process is gone: the machine code must stay.
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(engine))
    reset = ctypes.CFUNCTYPE(None)(engine.get_function_address("reset"))
    workers = ctypes.c_int64.from_address(engine.get_global_value_address("workers"))
    workers.value = cores() - 1

    reset()
    llvm.add_symbol(RUN, engine.get_function_address("run"))
    llvm.add_symbol(STATE, ctypes.addressof(_state))
    if hasattr(os, "register_at_fork"):
        # A child has none of its parent's threads, and mutexes as they happened to be.
        os.register_at_fork(after_in_child=reset)


def _engine() -> Any:
    module = llvm.parse_assembly(str(_Pool().module))
    module.verify()
    machine = llvm.Target.from_default_triple().create_target_machine(opt=2, jit=True)
    engine = llvm.create_mcjit_compiler(module, machine)
    engine.finalize_object()
    return engine


class _Pool:
    """Builds the module.

    Attributes
    ----------
    state : the pool's variables. ``workers``: how many threads may help. ``created``: how many
        there are. ``busy``: whether there is a job, or one is being ended. ``turn``: counts jobs.
        ``open``: whether a worker may still join. ``working``: how many have. ``chunk``,
        ``closure``, ``chunks``, ``next``: the job, and the next chunk that nobody has taken.
    """

    def __init__(self) -> None:
        self.module = ir.Module("tracegrad_threads")
        words = ("workers", "created", "busy", "turn", "open", "working", "chunks", "next")
        self.state = {name: self.variable(name, _word) for name in words}
        self.state["chunk"] = self.variable("chunk", _chunk.as_pointer())
        self.state["closure"] = self.variable("closure", _address)
        self.mutex, self.wake, self.done = (
            self.variable(name, _room) for name in ("mutex", "wake", "done")
        )
        self.threads = sys.platform != "win32"
        self.take = self.taking()
        if self.threads:
            self.worker = self.working()
        self.running()
        self.resetting()

    def variable(self, name: str, kind: Any) -> Any:
        made = ir.GlobalVariable(self.module, kind, name)
        made.initializer = ir.Constant(kind, None)
        made.align = 64
        return made

    def function(self, name: str, result: Any, *params: Any) -> tuple[Any, Any]:
        made = ir.Function(self.module, ir.FunctionType(result, params), name)
        return made, ir.IRBuilder(made.append_basic_block())

    def system(self, build: Any, name: str, *arguments: Any) -> Any:
        """Call a function of POSIX threads; addresses are given as such."""
        arguments = tuple(
            build.bitcast(a, _address) if isinstance(a, ir.GlobalVariable) else a for a in arguments
        )
        kind = ir.FunctionType(_int, [a.type for a in arguments])
        found = self.module.globals.get(name) or ir.Function(self.module, kind, name)
        return build.call(found, arguments)

    def get(self, build: Any, name: str) -> Any:
        return build.load_atomic(self.state[name], "seq_cst", 8)

    def set(self, build: Any, name: str, value: Any) -> None:
        value = _word(value) if isinstance(value, int) else value
        build.store_atomic(value, self.state[name], "seq_cst", 8)

    def pause(self, build: Any) -> None:
        if platform.machine() in ("x86_64", "AMD64"):
            kind = ir.FunctionType(ir.VoidType(), [])
            name = "llvm.x86.sse2.pause"
            build.call(self.module.globals.get(name) or ir.Function(self.module, kind, name), [])

    def spin(self, build: Any, over: Any) -> None:
        """Wait a little, until ``over()`` is true; the builder stands behind it then."""
        function = build.function
        before = build.block
        look, again, end = (function.append_basic_block(n) for n in ("look", "again", "end"))
        build.branch(look)
        build.position_at_end(look)
        count = build.phi(_word)
        count.add_incoming(_word(0), before)
        build.cbranch(over(), end, again)
        build.position_at_end(again)
        self.pause(build)
        more = build.add(count, _word(1))
        count.add_incoming(more, again)
        build.cbranch(build.icmp_signed("<", more, _word(SPINS)), look, end)
        build.position_at_end(end)

    def wait(self, build: Any, condition: Any, over: Any) -> None:
        """With the mutex held: sleep until ``over()`` is true."""
        function = build.function
        look, sleep, end = (function.append_basic_block(n) for n in ("look", "sleep", "end"))
        build.branch(look)
        build.position_at_end(look)
        build.cbranch(over(), end, sleep)
        build.position_at_end(sleep)
        self.system(build, "pthread_cond_wait", condition, self.mutex)
        build.branch(look)
        build.position_at_end(end)

    # --- functions

    def taking(self) -> Any:
        """``take(chunk, closure, chunks)``: run chunks as long as there are any."""
        kind = (_chunk.as_pointer(), _address, _word)
        function, build = self.function("take", ir.VoidType(), *kind)
        function.linkage = "internal"
        chunk, closure, chunks = function.args
        look, run, end = (function.append_basic_block(n) for n in ("look", "run", "end"))
        build.branch(look)
        build.position_at_end(look)
        c = build.atomic_rmw("add", self.state["next"], _word(1), "seq_cst")
        build.cbranch(build.icmp_signed("<", c, chunks), run, end)
        build.position_at_end(run)
        build.call(chunk, [closure, c])
        build.branch(look)
        build.position_at_end(end)
        build.ret_void()
        return function

    def working(self) -> Any:
        """``worker(nothing)``: what a thread does, for ever."""
        function, build = self.function("worker", _address, _address)
        function.linkage = "internal"
        look = function.append_basic_block("for_ever")
        entry = build.block
        build.branch(look)
        build.position_at_end(look)
        seen = build.phi(_word)
        seen.add_incoming(_word(0), entry)

        def another() -> Any:
            return build.icmp_signed("!=", self.get(build, "turn"), seen)

        self.spin(build, another)
        self.system(build, "pthread_mutex_lock", self.mutex)
        self.wait(build, self.wake, another)
        now = self.get(build, "turn")
        helpers = self.get(build, "working")
        room = build.icmp_signed("<", helpers, self.get(build, "workers"))
        joins = build.and_(room, build.icmp_signed("!=", self.get(build, "open"), _word(0)))
        self.set(build, "working", build.add(helpers, build.zext(joins, _word)))
        job = [build.load(self.state[name]) for name in ("chunk", "closure", "chunks")]
        self.system(build, "pthread_mutex_unlock", self.mutex)
        with build.if_then(joins):
            build.call(self.take, job)
            self.system(build, "pthread_mutex_lock", self.mutex)
            left = build.sub(self.get(build, "working"), _word(1))
            self.set(build, "working", left)
            with build.if_then(build.icmp_signed("==", left, _word(0))):
                self.system(build, "pthread_cond_signal", self.done)
            self.system(build, "pthread_mutex_unlock", self.mutex)
        seen.add_incoming(now, build.block)
        build.branch(look)
        return function

    def running(self) -> None:
        kind = (_chunk.as_pointer(), _address, _word)
        function, build = self.function("run", ir.VoidType(), *kind)
        chunk, closure, chunks = function.args
        alone = function.append_basic_block("alone")
        if self.threads:
            claim, ours = (function.append_basic_block(n) for n in ("claim", "ours"))
            workers = self.get(build, "workers")
            enough = build.and_(
                build.icmp_signed(">", chunks, _word(1)), build.icmp_signed(">", workers, _word(0))
            )
            build.cbranch(enough, claim, alone)
            build.position_at_end(claim)
            got = build.cmpxchg(self.state["busy"], _word(0), _word(1), "seq_cst")
            build.cbranch(build.extract_value(got, 1), ours, alone)
            build.position_at_end(ours)
            self.create(build, build.sub(chunks, _word(1)))
            self.system(build, "pthread_mutex_lock", self.mutex)
            for name, value in (("chunk", chunk), ("closure", closure), ("chunks", chunks)):
                build.store(value, self.state[name])
            self.set(build, "next", 0)
            self.set(build, "open", 1)
            self.set(build, "turn", build.add(self.get(build, "turn"), _word(1)))
            self.system(build, "pthread_cond_broadcast", self.wake)
            self.system(build, "pthread_mutex_unlock", self.mutex)
            build.call(self.take, [chunk, closure, chunks])
            self.system(build, "pthread_mutex_lock", self.mutex)
            self.set(build, "open", 0)
            self.system(build, "pthread_mutex_unlock", self.mutex)

            def over() -> Any:
                return build.icmp_signed("==", self.get(build, "working"), _word(0))

            self.spin(build, over)
            self.system(build, "pthread_mutex_lock", self.mutex)
            self.wait(build, self.done, over)
            self.system(build, "pthread_mutex_unlock", self.mutex)
            self.set(build, "busy", 0)
            build.ret_void()
        else:
            build.branch(alone)
        build.position_at_end(alone)
        before = build.block
        look, call, end = (function.append_basic_block(n) for n in ("look", "call", "end"))
        build.branch(look)
        build.position_at_end(look)
        c = build.phi(_word)
        c.add_incoming(_word(0), before)
        build.cbranch(build.icmp_signed("<", c, chunks), call, end)
        build.position_at_end(call)
        build.call(chunk, [closure, c])
        c.add_incoming(build.add(c, _word(1)), build.block)
        build.branch(look)
        build.position_at_end(end)
        build.ret_void()

    def create(self, build: Any, wanted: Any) -> None:
        """Create threads until there are ``wanted``, or as many as may work."""
        function = build.function
        look, more, made, end = (
            function.append_basic_block(n) for n in ("threads", "more", "made", "end")
        )
        build.branch(look)
        build.position_at_end(look)
        created, workers = self.get(build, "created"), self.get(build, "workers")
        few = build.and_(
            build.icmp_signed("<", created, wanted), build.icmp_signed("<", created, workers)
        )
        build.cbranch(few, more, end)
        build.position_at_end(more)
        thread = build.alloca(_word)
        nothing = ir.Constant(_address, None)
        failed = self.system(
            build,
            "pthread_create",
            build.bitcast(thread, _address),
            nothing,
            build.bitcast(self.worker, _address),
            nothing,
        )
        build.cbranch(build.icmp_signed("==", failed, _int(0)), made, end)
        build.position_at_end(made)
        handle = build.load(thread)
        detach = ir.Function(self.module, ir.FunctionType(_int, [_word]), "pthread_detach")
        build.call(detach, [handle])
        self.set(build, "created", build.add(created, _word(1)))
        build.branch(look)
        build.position_at_end(end)

    def resetting(self) -> None:
        """``reset()``: no threads, no job."""
        _, build = self.function("reset", ir.VoidType())
        for name in ("created", "busy", "turn", "open", "working"):
            self.set(build, name, 0)
        if self.threads:
            nothing = ir.Constant(_address, None)
            self.system(build, "pthread_mutex_init", self.mutex, nothing)
            for condition in (self.wake, self.done):
                self.system(build, "pthread_cond_init", condition, nothing)
        build.ret_void()
