"""A pool of threads that runs the chunks of one loop at a time, without Python.

The pool is LLVM's text, compiled when it is first asked for. Kernels find its function ``run`` by
`address`, those of Numba under the name `RUN`. There are no threads before the first loop that
wants them; a child process starts its own.

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
import threading

from tracegrad.backend.threads import _state, cores

__all__ = ["RUN", "STATE", "address", "register"]

RUN = "tracegrad_run_chunks"
STATE = "tracegrad_threads"

SPINS = 500

# Of the pool's variables, `workers` says how many threads may help and `created` how many there
# are; `busy`, whether there is a job, or one is being ended; `turn` counts jobs; `open` says
# whether a worker may still join the present one, and `working` how many have; `chunk`, `closure`,
# `chunks` and `next` are the job, and the next chunk that nobody has taken.
_VARIABLES = ("workers", "created", "busy", "turn", "open", "working", "chunks", "next")

_ALONE = """
declare i32 @pthread_create(ptr, ptr, ptr, ptr)
declare i32 @pthread_detach(i64)
declare i32 @pthread_mutex_init(ptr, ptr)
declare i32 @pthread_mutex_lock(ptr)
declare i32 @pthread_mutex_unlock(ptr)
declare i32 @pthread_cond_init(ptr, ptr)
declare i32 @pthread_cond_wait(ptr, ptr)
declare i32 @pthread_cond_signal(ptr)
declare i32 @pthread_cond_broadcast(ptr)

@chunk = global ptr null
@closure = global ptr null
; Room for a mutex or a condition of any system.
@mutex = global [16 x i64] zeroinitializer, align 64
@wake = global [16 x i64] zeroinitializer, align 64
@done = global [16 x i64] zeroinitializer, align 64

; All chunks, one after the other, by the calling thread.
define internal void @alone(ptr %chunk, ptr %closure, i64 %chunks) {
start:
  br label %look
look:
  %c = phi i64 [ 0, %start ], [ %following, %call ]
  %more = icmp slt i64 %c, %chunks
  br i1 %more, label %call, label %end
call:
  call void %chunk(ptr %closure, i64 %c)
  %following = add i64 %c, 1
  br label %look
end:
  ret void
}
"""

_TOGETHER = """
; Runs chunks as long as there are any.
define internal void @take(ptr %chunk, ptr %closure, i64 %chunks) {
start:
  br label %look
look:
  %c = atomicrmw add ptr @next, i64 1 seq_cst
  %more = icmp slt i64 %c, %chunks
  br i1 %more, label %call, label %end
call:
  call void %chunk(ptr %closure, i64 %c)
  br label %look
end:
  ret void
}

; Waits a little, until the number at %place is no longer %before.
define internal void @spin(ptr %place, i64 %before) {
start:
  br label %look
look:
  %n = phi i64 [ 0, %start ], [ %more, %again ]
  %now = load atomic i64, ptr %place seq_cst, align 8
  %same = icmp eq i64 %now, %before
  br i1 %same, label %again, label %end
again:
  PAUSE
  %more = add i64 %n, 1
  %soon = icmp slt i64 %more, SPINS
  br i1 %soon, label %look, label %end
end:
  ret void
}

; What a thread does, for ever.
define internal ptr @worker(ptr %nothing) {
start:
  br label %look
look:
  %seen = phi i64 [ 0, %start ], [ %turn, %late ], [ %turn, %last ], [ %turn, %others ]
  call void @spin(ptr @turn, i64 %seen)
  call i32 @pthread_mutex_lock(ptr @mutex)
  br label %asleep
asleep:
  %turn = load atomic i64, ptr @turn seq_cst, align 8
  %same = icmp eq i64 %turn, %seen
  br i1 %same, label %sleep, label %awake
sleep:
  call i32 @pthread_cond_wait(ptr @wake, ptr @mutex)
  br label %asleep
awake:
  %helpers = load i64, ptr @working
  %workers = load atomic i64, ptr @workers seq_cst, align 8
  %open = load i64, ptr @open
  %some = icmp ne i64 %open, 0
  %room = icmp slt i64 %helpers, %workers
  %joins = and i1 %some, %room
  br i1 %joins, label %join, label %late
late:
  call i32 @pthread_mutex_unlock(ptr @mutex)
  br label %look
join:
  %more = add i64 %helpers, 1
  store atomic i64 %more, ptr @working seq_cst, align 8
  %chunk = load ptr, ptr @chunk
  %closure = load ptr, ptr @closure
  %chunks = load i64, ptr @chunks
  call i32 @pthread_mutex_unlock(ptr @mutex)
  call void @take(ptr %chunk, ptr %closure, i64 %chunks)
  call i32 @pthread_mutex_lock(ptr @mutex)
  %before = load i64, ptr @working
  %left = sub i64 %before, 1
  store atomic i64 %left, ptr @working seq_cst, align 8
  %none = icmp eq i64 %left, 0
  br i1 %none, label %last, label %others
last:
  call i32 @pthread_cond_signal(ptr @done)
  call i32 @pthread_mutex_unlock(ptr @mutex)
  br label %look
others:
  call i32 @pthread_mutex_unlock(ptr @mutex)
  br label %look
}

; Creates threads until there are %wanted, or as many as may work.
define internal void @create(i64 %wanted) {
start:
  %thread = alloca i64
  br label %look
look:
  %created = load i64, ptr @created
  %workers = load atomic i64, ptr @workers seq_cst, align 8
  %few = icmp slt i64 %created, %wanted
  %allowed = icmp slt i64 %created, %workers
  %both = and i1 %few, %allowed
  br i1 %both, label %more, label %end
more:
  %failed = call i32 @pthread_create(ptr %thread, ptr null, ptr @worker, ptr null)
  %well = icmp eq i32 %failed, 0
  br i1 %well, label %made, label %end
made:
  %handle = load i64, ptr %thread
  call i32 @pthread_detach(i64 %handle)
  %now = add i64 %created, 1
  store i64 %now, ptr @created
  br label %look
end:
  ret void
}

define void @run(ptr %chunk, ptr %closure, i64 %chunks) {
start:
  %workers = load atomic i64, ptr @workers seq_cst, align 8
  %some = icmp sgt i64 %workers, 0
  %several = icmp sgt i64 %chunks, 1
  %both = and i1 %some, %several
  br i1 %both, label %claim, label %refused
claim:
  %pair = cmpxchg ptr @busy, i64 0, i64 1 seq_cst seq_cst
  %got = extractvalue { i64, i1 } %pair, 1
  br i1 %got, label %ours, label %refused
refused:
  call void @alone(ptr %chunk, ptr %closure, i64 %chunks)
  ret void
ours:
  %others = sub i64 %chunks, 1
  call void @create(i64 %others)
  call i32 @pthread_mutex_lock(ptr @mutex)
  store ptr %chunk, ptr @chunk
  store ptr %closure, ptr @closure
  store i64 %chunks, ptr @chunks
  store atomic i64 0, ptr @next seq_cst, align 8
  store i64 1, ptr @open
  %turn = load i64, ptr @turn
  %following = add i64 %turn, 1
  store atomic i64 %following, ptr @turn seq_cst, align 8
  call i32 @pthread_cond_broadcast(ptr @wake)
  call i32 @pthread_mutex_unlock(ptr @mutex)
  call void @take(ptr %chunk, ptr %closure, i64 %chunks)
  call i32 @pthread_mutex_lock(ptr @mutex)
  store i64 0, ptr @open
  call i32 @pthread_mutex_unlock(ptr @mutex)
  br label %spin
spin:
  %n = phi i64 [ 0, %ours ], [ %more, %again ]
  %helpers = load atomic i64, ptr @working seq_cst, align 8
  %none = icmp eq i64 %helpers, 0
  br i1 %none, label %over, label %again
again:
  PAUSE
  %more = add i64 %n, 1
  %soon = icmp slt i64 %more, SPINS
  br i1 %soon, label %spin, label %over
over:
  call i32 @pthread_mutex_lock(ptr @mutex)
  br label %asleep
asleep:
  %left = load i64, ptr @working
  %ended = icmp eq i64 %left, 0
  br i1 %ended, label %end, label %sleep
sleep:
  call i32 @pthread_cond_wait(ptr @done, ptr @mutex)
  br label %asleep
end:
  call i32 @pthread_mutex_unlock(ptr @mutex)
  store atomic i64 0, ptr @busy seq_cst, align 8
  ret void
}

; No threads, no job: at the start, and in a forked child.
define void @reset() {
  store i64 0, ptr @created
  store i64 0, ptr @turn
  store i64 0, ptr @open
  store i64 0, ptr @working
  call i32 @pthread_mutex_init(ptr @mutex, ptr null)
  call i32 @pthread_cond_init(ptr @wake, ptr null)
  call i32 @pthread_cond_init(ptr @done, ptr null)
  store atomic i64 0, ptr @busy seq_cst, align 8
  ret void
}
"""

_WITHOUT_THREADS = """
define void @run(ptr %chunk, ptr %closure, i64 %chunks) {
  call void @alone(ptr %chunk, ptr %closure, i64 %chunks)
  ret void
}

define void @reset() {
  ret void
}
"""

_PAUSES = {
    "x86_64": ("declare void @llvm.x86.sse2.pause()", "call void @llvm.x86.sse2.pause()"),
    "aarch64": ("declare void @llvm.aarch64.hint(i32)", "call void @llvm.aarch64.hint(i32 1)"),
}
_PAUSES |= {"AMD64": _PAUSES["x86_64"], "arm64": _PAUSES["aarch64"]}


def _text() -> str:
    declared, pause = _PAUSES.get(platform.machine(), ("", ""))
    text = _WITHOUT_THREADS if sys.platform == "win32" else _TOGETHER
    variables = [f"@{name} = global i64 0, align 64" for name in _VARIABLES]
    parts = (*variables, declared, _ALONE, text)
    return "\n".join(parts).replace("PAUSE", pause).replace("SPINS", str(SPINS))


_once = threading.Lock()
_found: dict[str, int] = {}


def address(name: str) -> int:
    """The address of ``run``, or of ``state``: how many threads are set, and the grain."""
    with _once:
        if not _found:
            _found.update(_make())
        return _found[name]


def register() -> None:
    """Tell LLVM where `RUN` and `STATE` are."""
    import llvmlite.binding as llvm

    llvm.add_symbol(RUN, address("run"))
    llvm.add_symbol(STATE, address("state"))


def _make() -> dict[str, int]:
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_triple(llvm.get_process_triple()).create_target_machine(
        opt=0, codemodel="jitdefault", jit=True
    )
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(_text()), machine)
    engine.finalize_object()
    reset = ctypes.CFUNCTYPE(None)(engine.get_function_address("reset"))
    workers = ctypes.c_int64.from_address(engine.get_global_value_address("workers"))
    workers.value = cores() - 1
    reset()
    found = {"run": engine.get_function_address("run"), "state": ctypes.addressof(_state)}
    # Workers may run until the process is gone: the machine code stays.
    engine.detach()
    if hasattr(os, "register_at_fork"):
        # A child has none of its parent's threads, and mutexes as they happened to be.
        os.register_at_fork(after_in_child=reset)
    return found
