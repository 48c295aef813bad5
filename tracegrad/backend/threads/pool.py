"""A pool of threads that runs the chunks of one loop at a time, without Python.

The pool is LLVM's text, compiled when it is first asked for. Kernels find its function ``run`` by
`address`, those of Numba under the name `RUN`. There are no threads before the first loop that
wants them; a child process starts its own.

``run(chunk, closure, chunks)`` calls ``chunk(closure, c)`` for each c in ``range(chunks)``. The
calling thread takes chunks as the workers do, by counting up ``next``, so nothing waits for a
worker that wakes up late. The pool has one job at a time: who finds it busy (another thread of the
user's, or a chunk that calls a kernel) does all its chunks by itself.

A worker that has nothing to do looks out for a job for about 20 µs, then sleeps. To wake it costs
the caller a few µs and more until it is there, most of all on a virtual machine; so a job that
takes less is done by the calling thread, unless workers look out anyway. How long a job takes is
taken from the last ones of the same loop, how long waking takes from the last times. Jobs one soon
after the other count as one. Which thread runs a chunk changes no result.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys
import threading
import time

from tracegrad.backend.threads import GRAIN, _state, cores

__all__ = ["RUN", "STATE", "address", "register"]

RUN = "tracegrad_run_chunks"
STATE = "tracegrad_threads"

SPINS = 500

#: A job that takes so many times as long as waking does is worth it.
WORTH = 3

#: Jobs that are no further apart count as one: workers still look out. In ns, as all times here.
SOON = 20_000

#: How long waking takes at the first time, and at most: a worker may have waited for a core.
LATENCY, LONGEST = 15_000, 200_000

#: Loops whose times are known at a time.
LOOPS = 64

# Of the pool's variables, `workers` says how many threads may help and `created` how many there
# are; `busy`, whether there is a job, or one is being ended; `turn` counts jobs; `open` says
# whether a worker may still join the present one, and `working` how many have; `chunk`, `closure`,
# `chunks` and `next` are the job, and the next chunk that nobody has taken. `looking` workers look
# out for a job; `sent` is when workers were woken the last time, `latency` how long that takes;
# `ended` is when the last job was, and `spent` the time of the jobs up to it that nobody helped
# with, since workers were woken. Times that two threads of the user's write at once may be wrong:
# they decide of speed alone.
_VARIABLES = (
    *("workers", "created", "busy", "turn", "open", "working", "chunks", "next"),
    *("looking", "sent", "latency", "ended", "spent"),
)

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
declare i32 @clock_gettime(i32, ptr)

; Of loops, by their addresses: which it is, and how long it takes on one thread.
@loops = global [LOOPS x { ptr, i64 }] zeroinitializer, align 64

; Nanoseconds since some moment.
define internal i64 @now() {
start:
  %time = alloca { i64, i64 }
  call i32 @clock_gettime(i32 CLOCK, ptr %time)
  %seconds = load i64, ptr %time
  %place = getelementptr { i64, i64 }, ptr %time, i32 0, i32 1
  %rest = load i64, ptr %place
  %whole = mul i64 %seconds, 1000000000
  %found = add i64 %whole, %rest
  ret i64 %found
}

; Runs chunks as long as there are any, and says how many.
define internal i64 @take(ptr %chunk, ptr %closure, i64 %chunks) {
start:
  br label %look
look:
  %taken = phi i64 [ 0, %start ], [ %further, %call ]
  %c = atomicrmw add ptr @next, i64 1 seq_cst
  %more = icmp slt i64 %c, %chunks
  br i1 %more, label %call, label %end
call:
  call void %chunk(ptr %closure, i64 %c)
  %further = add i64 %taken, 1
  br label %look
end:
  ret i64 %taken
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
  atomicrmw add ptr @looking, i64 1 seq_cst
  call void @spin(ptr @turn, i64 %seen)
  atomicrmw sub ptr @looking, i64 1 seq_cst
  call i32 @pthread_mutex_lock(ptr @mutex)
  br label %asleep
asleep:
  %slept = phi i1 [ false, %look ], [ true, %sleep ]
  %turn = load atomic i64, ptr @turn seq_cst, align 8
  %same = icmp eq i64 %turn, %seen
  br i1 %same, label %sleep, label %found
sleep:
  call i32 @pthread_cond_wait(ptr @wake, ptr @mutex)
  br label %asleep
found:
  br i1 %slept, label %woken, label %awake
woken:
  %here = call i64 @now()
  %sent = load i64, ptr @sent
  %took = sub i64 %here, %sent
  %least = call i64 @llvm.smin.i64(i64 %took, i64 LONGEST)
  %usual = load i64, ptr @latency
  %other = sub i64 %least, %usual
  %step = sdiv i64 %other, 8
  %better = add i64 %usual, %step
  store i64 %better, ptr @latency
  br label %awake
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
  call i64 @take(ptr %chunk, ptr %closure, i64 %chunks)
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

declare i64 @llvm.smin.i64(i64, i64)
declare i64 @llvm.smax.i64(i64, i64)

; Whether it is worth it to wake workers for a job of %loop.
define internal i1 @wakes(ptr %loop) {
start:
  %grain = load i64, ptr inttoptr (i64 GRAIN to ptr)
  %tested = icmp slt i64 %grain, USUAL
  %known = load ptr, ptr %loop
  %address = ptrtoint ptr %known to i64
  %unknown = icmp eq i64 %address, 0
  %always = or i1 %tested, %unknown
  %place = getelementptr { ptr, i64 }, ptr %loop, i32 0, i32 1
  %time = load i64, ptr %place
  %spent = load i64, ptr @spent
  %long = call i64 @llvm.smax.i64(i64 %time, i64 %spent)
  %latency = load i64, ptr @latency
  %least = mul i64 %latency, WORTH
  %worth = icmp sge i64 %long, %least
  %found = or i1 %always, %worth
  ret i1 %found
}

; A loop took %time on one thread. One that takes less than before may be as long again: to wake
; workers for nothing costs less than not to wake them.
define internal void @learn(ptr %loop, ptr %chunk, i64 %time) {
start:
  %place = getelementptr { ptr, i64 }, ptr %loop, i32 0, i32 1
  %before = load i64, ptr %place
  %eighth = sdiv i64 %before, 8
  %less = sub i64 %before, %eighth
  %longest = call i64 @llvm.smax.i64(i64 %time, i64 %less)
  store i64 %longest, ptr %place
  store ptr %chunk, ptr %loop
  ret void
}

define void @run(ptr %chunk, ptr %closure, i64 %chunks) {
start:
  %workers = load atomic i64, ptr @workers seq_cst, align 8
  %some = icmp sgt i64 %workers, 0
  %several = icmp sgt i64 %chunks, 1
  %both = and i1 %some, %several
  br i1 %both, label %think, label %refused
refused:
  call void @alone(ptr %chunk, ptr %closure, i64 %chunks)
  ret void
think:
  %address = ptrtoint ptr %chunk to i64
  %high = lshr i64 %address, 4
  %row = urem i64 %high, LOOPS
  %loop = getelementptr [LOOPS x { ptr, i64 }], ptr @loops, i64 0, i64 %row
  %there = load ptr, ptr %loop
  %same = icmp eq ptr %there, %chunk
  br i1 %same, label %known, label %new
new:
  store { ptr, i64 } zeroinitializer, ptr %loop
  br label %known
known:
  %begun = call i64 @now()
  %before = load i64, ptr @ended
  %gap = sub i64 %begun, %before
  %late = icmp sgt i64 %gap, SOON
  br i1 %late, label %forget, label %decide
forget:
  store i64 0, ptr @spent
  br label %decide
decide:
  %wakes = call i1 @wakes(ptr %loop)
  %looking = load atomic i64, ptr @looking seq_cst, align 8
  %looks = icmp sgt i64 %looking, 0
  %helped = or i1 %wakes, %looks
  br i1 %helped, label %claim, label %ourselves
ourselves:
  call void @alone(ptr %chunk, ptr %closure, i64 %chunks)
  br label %unhelped
unhelped:
  %from = phi i64 [ %begun, %ourselves ], [ %published, %took_all ]
  %till = call i64 @now()
  %whole = sub i64 %till, %from
  call void @learn(ptr %loop, ptr %chunk, i64 %whole)
  %earlier = load i64, ptr @spent
  %spent = add i64 %earlier, %whole
  store i64 %spent, ptr @spent
  store i64 %till, ptr @ended
  ret void
claim:
  %pair = cmpxchg ptr @busy, i64 0, i64 1 seq_cst seq_cst
  %got = extractvalue { i64, i1 } %pair, 1
  br i1 %got, label %ours, label %refused
ours:
  br i1 %wakes, label %ready, label %publish
ready:
  %others = sub i64 %chunks, 1
  call void @create(i64 %others)
  br label %publish
publish:
  call i32 @pthread_mutex_lock(ptr @mutex)
  store ptr %chunk, ptr @chunk
  store ptr %closure, ptr @closure
  store i64 %chunks, ptr @chunks
  store atomic i64 0, ptr @next seq_cst, align 8
  store i64 1, ptr @open
  %turn = load i64, ptr @turn
  %following = add i64 %turn, 1
  store atomic i64 %following, ptr @turn seq_cst, align 8
  br i1 %wakes, label %send, label %sent
send:
  store i64 %begun, ptr @sent
  store i64 0, ptr @spent
  call i32 @pthread_cond_broadcast(ptr @wake)
  br label %sent
sent:
  call i32 @pthread_mutex_unlock(ptr @mutex)
  %published = call i64 @now()
  %taken = call i64 @take(ptr %chunk, ptr %closure, i64 %chunks)
  %done = call i64 @now()
  call i32 @pthread_mutex_lock(ptr @mutex)
  store i64 0, ptr @open
  call i32 @pthread_mutex_unlock(ptr @mutex)
  br label %spin
spin:
  %n = phi i64 [ 0, %sent ], [ %more, %again ]
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
  %finished = icmp eq i64 %left, 0
  br i1 %finished, label %end, label %sleep
sleep:
  call i32 @pthread_cond_wait(ptr @done, ptr @mutex)
  br label %asleep
end:
  call i32 @pthread_mutex_unlock(ptr @mutex)
  store atomic i64 0, ptr @busy seq_cst, align 8
  %all = icmp eq i64 %taken, %chunks
  br i1 %all, label %took_all, label %shared
took_all:
  br label %unhelped
shared:
  store i64 0, ptr @spent
  store i64 %done, ptr @ended
  %any = icmp sgt i64 %taken, 0
  br i1 %any, label %measured, label %unmeasured
measured:
  %part = sub i64 %done, %published
  %times = mul i64 %part, %chunks
  %serial = sdiv i64 %times, %taken
  call void @learn(ptr %loop, ptr %chunk, i64 %serial)
  ret void
unmeasured:
  ret void
}

; No threads, no job: at the start, and in a forked child.
define void @reset() {
  store i64 0, ptr @created
  store i64 0, ptr @turn
  store i64 0, ptr @open
  store i64 0, ptr @working
  store i64 0, ptr @looking
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
    text = "\n".join((*variables, declared, _ALONE, text))
    meanings = {
        "PAUSE": pause,
        "SPINS": SPINS,
        "WORTH": WORTH,
        "SOON": SOON,
        "LONGEST": LONGEST,
        "LOOPS": LOOPS,
        "CLOCK": time.CLOCK_MONOTONIC if sys.platform != "win32" else 0,
        # A grain that is less than the usual one is set by tests: they want threads at any price.
        "GRAIN": ctypes.addressof(_state) + ctypes.sizeof(ctypes.c_int64),
        "USUAL": GRAIN,
    }
    for name, meaning in meanings.items():
        text = text.replace(name, str(meaning))
    return text


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
    latency = ctypes.c_int64.from_address(engine.get_global_value_address("latency"))
    latency.value = LATENCY
    reset()
    found = {"run": engine.get_function_address("run"), "state": ctypes.addressof(_state)}
    # Workers may run until the process is gone: the machine code stays.
    engine.detach()
    if hasattr(os, "register_at_fork"):
        # A child has none of its parent's threads, and mutexes as they happened to be.
        os.register_at_fork(after_in_child=reset)
    return found
