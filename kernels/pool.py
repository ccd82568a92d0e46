"""Threads of the operating system that take parts of loops, and of NumPy's products.

Python's threads need the interpreter's lock before they begin, and those that sleep take some 50
microseconds to wake up: as long as a part of most loops takes. These need no lock, and look for
work for about a millisecond before they sleep, as those of a library for matrix products do. Two
sets of threads that look for work would take the cores from each other, so NumPy's OpenBLAS is told
to use these for our products, by the function that it has for that
(``openblas_set_threads_callback_function`` of its ``cblas.h``).

The text below is in LLVM's language, for which llvmlite comes with Numba. It is used on Linux.
"""

import ctypes
import functools
import hashlib
import os
import sys
import types as types_of_python
from collections.abc import Callable
from typing import Any

from gputensor.kernels import machine_code

__all__ = ["MOST", "launcher", "run", "start"]

MOST = 256  # threads

# A job is a function that is called with 0, 1, ..., n - 1 and an address, each by one thread, the
# first by the caller's. @word has the number of the latest job, and below 16 bits its n: a thread
# that a job has no part for must not look at what else is said of it, as that may be of the next.
_TEXT = """
%thread = type {[16 x i64], [16 x i64], i64, [15 x i64]}  ; mutex, condition, whether it sleeps
@threads = internal global [MOST x %thread] zeroinitializer
@handle = internal global i64 0
@size = internal global i64 1
@busy = internal global i64 0
@word = internal global i64 0
@function = internal global void (i64, i8*)* null
@argument = internal global i8* null
@pending = internal global i64 0

declare i32 @pthread_create(i64*, i8*, i8* (i8*)*, i8*)
declare i32 @pthread_detach(i64)
declare i32 @pthread_mutex_lock(i8*)
declare i32 @pthread_mutex_unlock(i8*)
declare i32 @pthread_cond_wait(i8*, i8*)
declare i32 @pthread_cond_signal(i8*)
declare i32 @sched_yield()
declare void @llvm.trap()

define internal i8* @mutex_of(i64 %index) alwaysinline {
  %at = getelementptr [MOST x %thread], [MOST x %thread]* @threads, i64 0, i64 %index, i32 0
  %found = bitcast [16 x i64]* %at to i8*
  ret i8* %found
}

define internal i8* @condition_of(i64 %index) alwaysinline {
  %at = getelementptr [MOST x %thread], [MOST x %thread]* @threads, i64 0, i64 %index, i32 1
  %found = bitcast [16 x i64]* %at to i8*
  ret i8* %found
}

; What a thread does: its argument is its index, and above 16 bits the number of the job before.
define internal i8* @live(i8* %argument) {
entry:
  %packed = ptrtoint i8* %argument to i64
  %index = and i64 %packed, 65535
  %born = lshr i64 %packed, 16
  %mutex = call i8* @mutex_of(i64 %index)
  %condition = call i8* @condition_of(i64 %index)
  %sleeps = getelementptr [MOST x %thread], [MOST x %thread]* @threads, i64 0, i64 %index, i32 2
  br label %idle
idle:
  %seen = phi i64 [%born, %entry], [%number, %look], [%number, %work]
  br label %spin
spin:
  %turn = phi i64 [0, %idle], [%next_turn, %again]
  %word1 = load atomic i64, i64* @word seq_cst, align 8
  %number1 = lshr i64 %word1, 16
  %new1 = icmp ne i64 %number1, %seen
  br i1 %new1, label %look, label %again
again:
  call i32 @sched_yield()
  %next_turn = add i64 %turn, 1
  %tired = icmp sge i64 %next_turn, TURNS
  br i1 %tired, label %rest, label %spin
rest:
  call i32 @pthread_mutex_lock(i8* %mutex)
  store atomic i64 1, i64* %sleeps seq_cst, align 8
  br label %listen
listen:
  %word2 = load atomic i64, i64* @word seq_cst, align 8
  %number2 = lshr i64 %word2, 16
  %new2 = icmp ne i64 %number2, %seen
  br i1 %new2, label %awake, label %sleep
sleep:
  call i32 @pthread_cond_wait(i8* %condition, i8* %mutex)
  br label %listen
awake:
  store atomic i64 0, i64* %sleeps seq_cst, align 8
  call i32 @pthread_mutex_unlock(i8* %mutex)
  br label %look
look:
  %word = phi i64 [%word1, %spin], [%word2, %awake]
  %number = lshr i64 %word, 16
  %parts = and i64 %word, 65535
  %mine = icmp slt i64 %index, %parts
  br i1 %mine, label %work, label %idle
work:
  %function = load void (i64, i8*)*, void (i64, i8*)** @function
  %given = load i8*, i8** @argument
  call void %function(i64 %index, i8* %given)
  atomicrmw sub i64* @pending, i64 1 seq_cst
  br label %idle
}

; Run a job, and wait for it. 0 where it was not run: another has the threads and `insist` is 0, or
; the system gives no more of them.
define i64 @run(void (i64, i8*)* %function, i8* %argument, i64 %parts, i64 %insist) {
entry:
  %too_many = icmp sgt i64 %parts, MOST
  br i1 %too_many, label %refuse, label %take
take:
  %taken = cmpxchg i64* @busy, i64 0, i64 1 seq_cst seq_cst
  %free = extractvalue {i64, i1} %taken, 1
  br i1 %free, label %begin, label %occupied
occupied:
  %waits = icmp ne i64 %insist, 0
  br i1 %waits, label %later, label %refuse
later:
  call i32 @sched_yield()
  br label %take
refuse:
  ret i64 0
begin:
  %word = load atomic i64, i64* @word seq_cst, align 8
  %before = lshr i64 %word, 16
  br label %grow
grow:
  %size = load i64, i64* @size
  %enough = icmp sge i64 %size, %parts
  br i1 %enough, label %post, label %create
create:
  %high = shl i64 %before, 16
  %packed = or i64 %high, %size
  %own = inttoptr i64 %packed to i8*
  %failed = call i32 @pthread_create(i64* @handle, i8* null, i8* (i8*)* @live, i8* %own)
  %none = icmp ne i32 %failed, 0
  br i1 %none, label %give_up, label %created
give_up:
  store atomic i64 0, i64* @busy seq_cst, align 8
  ret i64 0
created:
  %handle = load i64, i64* @handle
  call i32 @pthread_detach(i64 %handle)
  %larger = add i64 %size, 1
  store i64 %larger, i64* @size
  br label %grow
post:
  store void (i64, i8*)* %function, void (i64, i8*)** @function
  store i8* %argument, i8** @argument
  %others = sub i64 %parts, 1
  store atomic i64 %others, i64* @pending seq_cst, align 8
  %next = add i64 %before, 1
  %shifted = shl i64 %next, 16
  %said = or i64 %shifted, %parts
  store atomic i64 %said, i64* @word seq_cst, align 8
  br label %call
call:
  %index = phi i64 [1, %post], [%index1, %called]
  %more = icmp slt i64 %index, %parts
  br i1 %more, label %see, label %share
see:
  %at = getelementptr [MOST x %thread], [MOST x %thread]* @threads, i64 0, i64 %index, i32 2
  %sleeps = load atomic i64, i64* %at seq_cst, align 8
  %asleep = icmp ne i64 %sleeps, 0
  br i1 %asleep, label %wake, label %called
wake:
  %mutex = call i8* @mutex_of(i64 %index)
  %condition = call i8* @condition_of(i64 %index)
  call i32 @pthread_mutex_lock(i8* %mutex)
  call i32 @pthread_cond_signal(i8* %condition)
  call i32 @pthread_mutex_unlock(i8* %mutex)
  br label %called
called:
  %index1 = add i64 %index, 1
  br label %call
share:
  call void %function(i64 0, i8* %argument)
  br label %wait
wait:
  %turn = phi i64 [0, %share], [%turn1, %on]
  %left = load atomic i64, i64* @pending seq_cst, align 8
  %done = icmp eq i64 %left, 0
  br i1 %done, label %end, label %patience
patience:
  %turn1 = add i64 %turn, 1
  %long = icmp sgt i64 %turn1, 1000
  br i1 %long, label %yield, label %on
yield:
  call i32 @sched_yield()
  br label %on
on:
  br label %wait
end:
  store atomic i64 0, i64* @busy seq_cst, align 8
  ret i64 1
}

define void @idle(i64 %index, i8* %argument) {
  ret void
}

; In a child of a fork there are no threads, whatever the parent's were at.
define void @reset() {
entry:
  %words = bitcast [MOST x %thread]* @threads to i64*
  br label %clear
clear:
  %i = phi i64 [0, %entry], [%i1, %clear]
  %at = getelementptr i64, i64* %words, i64 %i
  store i64 0, i64* %at
  %i1 = add i64 %i, 1
  %more = icmp slt i64 %i1, WORDS
  br i1 %more, label %clear, label %end
end:
  store i64 1, i64* @size
  store i64 0, i64* @busy
  ret void
}

; What OpenBLAS calls instead of its own threads.
%job = type {void (i32, i8*, i32)*, i64, i8*, i32}

define internal void @part_of_product(i64 %index, i8* %argument) {
  %job = bitcast i8* %argument to %job*
  %held = load %job, %job* %job
  %function = extractvalue %job %held, 0
  %each = extractvalue %job %held, 1
  %data = extractvalue %job %held, 2
  %last = extractvalue %job %held, 3
  %offset = mul i64 %index, %each
  %own = getelementptr i8, i8* %data, i64 %offset
  %number = trunc i64 %index to i32
  call void %function(i32 %number, i8* %own, i32 %last)
  ret void
}

define void @product(i32 %sync, void (i32, i8*, i32)* %function, i32 %count, i64 %each, i8* %data,
                     i32 %last) {
  %job = alloca %job
  %job0 = insertvalue %job undef, void (i32, i8*, i32)* %function, 0
  %job1 = insertvalue %job %job0, i64 %each, 1
  %job2 = insertvalue %job %job1, i8* %data, 2
  %job3 = insertvalue %job %job2, i32 %last, 3
  store %job %job3, %job* %job
  %argument = bitcast %job* %job to i8*
  %parts = sext i32 %count to i64
  %run = call i64 @run(void (i64, i8*)* @part_of_product, i8* %argument, i64 %parts, i64 1)
  %was_run = icmp ne i64 %run, 0
  br i1 %was_run, label %good, label %bad
good:
  ret void
bad:  ; its parts wait for each other: they cannot be computed one after the other
  call void @llvm.trap()
  unreachable
}
"""
_TURNS = 3000  # how often a thread looks for work before it sleeps
_SYMBOL = "gputensor_pool_run"

run: Any = None  # ``run(function, argument, parts, insist)``, addresses; set by `start`


@functools.cache
def start(threads: int) -> int:
    """Make the pool, of so many threads with the caller's.

    Returns
    -------
    int
        Address of what OpenBLAS may be given for its products; 0 where there is no pool.
    """
    global run
    if sys.platform != "linux" or not machine_code.usable():
        return 0
    import llvmlite.binding as llvm

    text = _TEXT.replace("MOST", str(MOST)).replace("WORDS", str(48 * MOST))
    text = text.replace("TURNS", str(_TURNS))
    names = ("run", "idle", "reset", "product")
    found = dict(zip(names, machine_code.compiled(text, *names), strict=True))
    pointer, number = ctypes.c_void_p, ctypes.c_int64
    call = ctypes.CFUNCTYPE(number, pointer, pointer, number, number)(found["run"])
    if not call(found["idle"], None, min(threads, MOST), 1):
        return 0
    os.register_at_fork(after_in_child=ctypes.CFUNCTYPE(None)(found["reset"]))
    llvm.add_symbol(_SYMBOL, found["run"])
    run = call
    return found["product"]


def launcher(loop: Any) -> Callable[..., int]:
    """Function, for Numba to compile, that runs parts of a loop on the pool.

    Parameters
    ----------
    loop : Dispatcher
        Numba's, of ``loop(start, stop, *args)``.

    Returns
    -------
    callable
        ``launch(length, parts, args)``, which gives what `run` does; `args` is a tuple.
    """
    from llvmlite import ir
    from numba.core import callconv, cgutils, types
    from numba.extending import intrinsic

    @intrinsic  # type: ignore[misc, unused-ignore]
    def fan_out(_context: Any, _length: Any, _parts: Any, args: Any) -> Any:
        kinds = (types.int64, types.int64, *args.types)

        def made(context: Any, builder: Any, _signature: Any, values: Any) -> Any:
            loop.compile(kinds)
            found = loop.overloads[kinds]
            context.active_code_library.add_linking_library(found.library)
            target = context.declare_function(builder.module, found.fndesc)
            number, address = ir.IntType(64), ir.IntType(8).as_pointer()
            # What is given is laid down on the stack; each part takes it up from there. One that
            # raises an exception leaves its code and description.
            none_raised = ir.Constant(callconv.errcode_t, 0), callconv.excinfo_ptr_t(None)
            laid = cgutils.pack_struct(builder, [*values, *none_raised])
            place = cgutils.alloca_once_value(builder, laid)
            kind = ir.FunctionType(ir.VoidType(), [number, address])
            part = ir.Function(builder.module, kind, builder.module.get_unique_name("part"))
            part.linkage = "internal"
            inside = ir.IRBuilder(part.append_basic_block())
            index, argument = part.args
            taken = inside.bitcast(argument, place.type)
            held = inside.load(taken)
            length, parts, operands = (inside.extract_value(held, i) for i in range(3))
            after = inside.add(index, ir.Constant(number, 1))
            start = inside.sdiv(inside.mul(length, index), parts)
            stop = inside.sdiv(inside.mul(length, after), parts)
            rest = [inside.extract_value(operands, i) for i in range(len(args.types))]
            status, _ = context.call_conv.call_function(
                *(inside, target, found.signature.return_type, kinds, [start, stop, *rest]),
                attrs=("noinline",),  # the same machine code as where the loop is not shared
            )
            with inside.if_then(status.is_error, likely=False):
                inside.store(status.excinfoptr, cgutils.gep_inbounds(inside, taken, 0, 4))
                inside.store(status.code, cgutils.gep_inbounds(inside, taken, 0, 3))
            inside.ret_void()
            form = ir.FunctionType(number, [kind.as_pointer(), address, number, number])
            runs = cgutils.get_or_insert_function(builder.module, form, _SYMBOL)
            none = ir.Constant(number, 0)
            done = builder.call(runs, [part, builder.bitcast(place, address), values[1], none])
            code = builder.load(cgutils.gep_inbounds(builder, place, 0, 3))
            description = builder.load(cgutils.gep_inbounds(builder, place, 0, 4))
            raised = context.call_conv._get_return_status(builder, code, description)
            with builder.if_then(raised.is_error, likely=False):
                context.call_conv.return_status_propagate(builder, raised)
            return done

        return types.int64(types.int64, types.int64, args), made

    # Numba's cache knows a function by its file, name, line and code, and the code is the
    # same for all: that of the loop goes into the name.
    code = loop.py_func.__code__
    digest = hashlib.sha256(code.co_code + repr(code.co_consts).encode()).hexdigest()[:8]
    name = f"{loop.py_func.__qualname__}_in_parts_{digest}"
    code = _launch.__code__.replace(
        co_filename=code.co_filename, co_firstlineno=code.co_firstlineno, co_name=name
    )
    function = types_of_python.FunctionType(code, {"fan_out": fan_out}, name)
    function.__qualname__, function.__module__ = name, loop.py_func.__module__
    return function


def _launch(length, parts, args):  # type: ignore[no-untyped-def]
    return fan_out(length, parts, args)  # noqa: F821 (one for each loop)
