"""Our own compiler of the source we print: Python text → `ast` → LLVM → machine code.

Numba compiles a kernel in 0.2 to 5 s, of which LLVM takes a tenth: its front end infers types that
we know, for a language far larger than the one we print. That language is small and typed, so
one walk over the syntax tree writes LLVM's text (`program`); LLVM optimises it for this processor
(`machine`), and what comes out is a function that CPython calls directly (`entry`): it checks its
arguments, runs the statements, and makes the results.

The Python source stays what runs and what users read. Its meaning here is that of Numba with the
same options, construct by construct, and the tests hold each one to Numba and to plain Python. A
kernel that holds anything else is `Unsupported`, which is known before any of it is run, and
Numba compiles it as a whole.

Read in this order: `types`, `writer` (text of functions), `scalars` (arithmetic), `arrays`
(memory), `fortran`, `blas` and `lapack` (calls of libraries), `program` (statements), `entry`,
`externals`, `machine`, `kernel`.
"""
