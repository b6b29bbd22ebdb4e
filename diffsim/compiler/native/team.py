"""Threads that share the loops of kernels, in LLVM's textual form: machine code wakes them and waits.

A team is a block of memory that kernels get the address of. Work is cut into parts, and whoever is free takes
one: the thread that launched the kernel too, which never waits for a thread that has not begun. So a thread
that the system does not run costs nothing but its help, and what is computed depends on the parts alone.

The parts that are left are counted in a word whose upper half numbers the jobs: a part is taken by lowering
that word, which fails where another took it or the job is over.
"""

from __future__ import annotations

import re

from diffsim.compiler.native.modes import quick

__all__ = ["BYTES", "STATE", "STOP", "team_text"]

# Of a team: the number of its threads, the addresses of `share`, `worker` and `dismiss`, and from STATE on
# what jobs change.
BYTES, STATE, STOP = 1024, 64, 264

_PLACES = {
    "busy": 64,  # a kernel has the team
    "word": 128,  # the number of the job, and its parts that nobody has taken yet
    "work": 136,  # the function of the job, and what it gets
    "context": 144,
    "pending": 192,  # parts that are not done
    "asleep": 256,  # threads that wait for work
    "waiting": 260,  # the launching thread waits for the last part
    "stop": STOP,
    "spare": 320,  # zeros for sums of each part's own
    "spare_bytes": 328,
    "lock": 384,
    "begun": 512,
    "ended": 640,
}

# Looks for work before a thread goes to sleep: as long as what lies between two launches, not longer
_PATIENCE = 2000


def team_text(triple: str) -> str:
    """Return a module with `prepare(team)`, which makes a team of zeroed memory with the number of threads.

    `worker(team)` is what each thread but one runs, in the mode of kernels, until `dismiss(team)`.
    `share(team, work, gather, context, parts, cuts, bytes)` calls `work(context, k)` for each of the parts,
    then `gather(context, k)` for each cut if there are any. At the beginning of the context goes the address
    of so many bytes of zeros, which have to be zeros again in the end.

    Args:
        triple: The system, as LLVM calls it.
    """
    pause, declaration = _pause(triple)
    before, _, declarations = quick(triple)
    text = (
        _TEXT.replace("  MODE", "\n".join(before)).replace("PAUSE", pause).replace("PATIENCE", str(_PATIENCE))
    )
    return "\n".join([_named(text) + declaration, *declarations, ""])


def _named(text: str) -> str:
    """Give the places of the team names at the beginning of each function that uses one."""
    functions = []
    for function in text.split("\n\n"):
        used = [name for name in _PLACES if re.search(rf"%{name}\b", function)]
        places = [f"  %{name} = getelementptr i8, ptr %team, i64 {_PLACES[name]}" for name in used]
        functions.append(function.replace("entry:", "\n".join(["entry:", *places]), 1))
    return "\n\n".join(functions)


def _pause(triple: str) -> tuple[str, str]:
    """Return what tells the processor that it waits, and its declaration."""
    if triple.startswith(("x86_64", "i386", "i686")):
        return "call void @llvm.x86.sse2.pause()", "declare void @llvm.x86.sse2.pause()\n"
    if triple.startswith(("aarch64", "arm64")):
        return "call void @llvm.aarch64.hint(i32 1)", "declare void @llvm.aarch64.hint(i32)\n"
    return "", ""


_TEXT = """define void @prepare(ptr %team) {
entry:
  %l = call i32 @pthread_mutex_init(ptr %lock, ptr null)
  %b = call i32 @pthread_cond_init(ptr %begun, ptr null)
  %e = call i32 @pthread_cond_init(ptr %ended, ptr null)
  %first = getelementptr ptr, ptr %team, i64 1
  store ptr @share, ptr %first
  %second = getelementptr ptr, ptr %team, i64 2
  store ptr @worker, ptr %second
  %third = getelementptr ptr, ptr %team, i64 3
  store ptr @dismiss, ptr %third
  ret void
}

define internal void @dismiss(ptr %team) {
entry:
  store atomic i32 1, ptr %stop seq_cst, align 4
  %l = call i32 @pthread_mutex_lock(ptr %lock)
  %b = call i32 @pthread_cond_broadcast(ptr %begun)
  %u = call i32 @pthread_mutex_unlock(ptr %lock)
  ret void
}

define internal void @worker(ptr %team) {
entry:
  MODE
  br label %begin
begin:
  br label %look
look:
  %tries = phi i32 [ 0, %begin ], [ %more, %idle ]
  %w = load atomic i64, ptr %word acquire, align 8
  %left = trunc i64 %w to i32
  %none = icmp eq i32 %left, 0
  br i1 %none, label %idle, label %take
idle:
  PAUSE
  %over = load atomic i32, ptr %stop seq_cst, align 4
  %ends = icmp ne i32 %over, 0
  %more = add i32 %tries, 1
  %tired = icmp ugt i32 %more, PATIENCE
  %rests = or i1 %ends, %tired
  br i1 %rests, label %rest, label %look
rest:
  br i1 %ends, label %end, label %sleep
sleep:
  %l = call i32 @pthread_mutex_lock(ptr %lock)
  %s = atomicrmw add ptr %asleep, i32 1 seq_cst
  br label %check
check:
  %w2 = load atomic i64, ptr %word seq_cst, align 8
  %left2 = trunc i64 %w2 to i32
  %some = icmp ne i32 %left2, 0
  %over2 = load atomic i32, ptr %stop seq_cst, align 4
  %ends2 = icmp ne i32 %over2, 0
  %wakes = or i1 %some, %ends2
  br i1 %wakes, label %wake, label %dream
dream:
  %c = call i32 @pthread_cond_wait(ptr %begun, ptr %lock)
  br label %check
wake:
  %s2 = atomicrmw sub ptr %asleep, i32 1 seq_cst
  %u = call i32 @pthread_mutex_unlock(ptr %lock)
  br label %begin
take:
  %f = load atomic ptr, ptr %work monotonic, align 8
  %c2 = load atomic ptr, ptr %context monotonic, align 8
  %w3 = sub i64 %w, 1
  %pair = cmpxchg ptr %word, i64 %w, i64 %w3 seq_cst monotonic
  %mine = extractvalue { i64, i1 } %pair, 1
  br i1 %mine, label %do, label %begin
do:
  %k = sub i32 %left, 1
  call void %f(ptr %c2, i32 %k)
  %p = atomicrmw sub ptr %pending, i64 1 seq_cst
  %last = icmp eq i64 %p, 1
  br i1 %last, label %tell, label %begin
tell:
  %n = load atomic i32, ptr %waiting seq_cst, align 4
  %waits = icmp ne i32 %n, 0
  br i1 %waits, label %call, label %begin
call:
  %l2 = call i32 @pthread_mutex_lock(ptr %lock)
  %c3 = call i32 @pthread_cond_signal(ptr %ended)
  %u2 = call i32 @pthread_mutex_unlock(ptr %lock)
  br label %begin
end:
  ret void
}

define internal void @job(ptr %team, ptr %f, ptr %c, i32 %parts) {
entry:
  %one = icmp eq i32 %parts, 1
  br i1 %one, label %alone, label %publish
alone:
  call void %f(ptr %c, i32 0)
  ret void
publish:
  store atomic ptr %f, ptr %work monotonic, align 8
  store atomic ptr %c, ptr %context monotonic, align 8
  %all = zext i32 %parts to i64
  store atomic i64 %all, ptr %pending seq_cst, align 8
  %before = load atomic i64, ptr %word monotonic, align 8
  %job = lshr i64 %before, 32
  %next = add i64 %job, 1
  %high = shl i64 %next, 32
  %now = or i64 %high, %all
  store atomic i64 %now, ptr %word seq_cst, align 8
  %s = load atomic i32, ptr %asleep seq_cst, align 4
  %any = icmp ne i32 %s, 0
  br i1 %any, label %ring, label %claim
ring:
  %others = sub i32 %parts, 1
  %fewer = icmp ult i32 %others, %s
  %calls = select i1 %fewer, i32 %others, i32 %s
  %l = call i32 @pthread_mutex_lock(ptr %lock)
  br label %rings
rings:
  %r = phi i32 [ 0, %ring ], [ %r2, %rings ]
  %b = call i32 @pthread_cond_signal(ptr %begun)
  %r2 = add i32 %r, 1
  %rung = icmp uge i32 %r2, %calls
  br i1 %rung, label %unlock, label %rings
unlock:
  %u = call i32 @pthread_mutex_unlock(ptr %lock)
  br label %claim
claim:
  %w = load atomic i64, ptr %word acquire, align 8
  %left = trunc i64 %w to i32
  %none = icmp eq i32 %left, 0
  br i1 %none, label %wait, label %take
take:
  %w2 = sub i64 %w, 1
  %pair = cmpxchg ptr %word, i64 %w, i64 %w2 seq_cst monotonic
  %mine = extractvalue { i64, i1 } %pair, 1
  br i1 %mine, label %do, label %claim
do:
  %k = sub i32 %left, 1
  call void %f(ptr %c, i32 %k)
  %p = atomicrmw sub ptr %pending, i64 1 seq_cst
  br label %claim
wait:
  %tries = phi i32 [ 0, %claim ], [ %more, %again ]
  %d = load atomic i64, ptr %pending acquire, align 8
  %done = icmp eq i64 %d, 0
  br i1 %done, label %end, label %again
again:
  PAUSE
  %more = add i32 %tries, 1
  %tired = icmp ugt i32 %more, PATIENCE
  br i1 %tired, label %sleep, label %wait
sleep:
  %l2 = call i32 @pthread_mutex_lock(ptr %lock)
  store atomic i32 1, ptr %waiting seq_cst, align 4
  br label %check
check:
  %d2 = load atomic i64, ptr %pending seq_cst, align 8
  %done2 = icmp eq i64 %d2, 0
  br i1 %done2, label %awake, label %dream
dream:
  %c2 = call i32 @pthread_cond_wait(ptr %ended, ptr %lock)
  br label %check
awake:
  store atomic i32 0, ptr %waiting seq_cst, align 4
  %u2 = call i32 @pthread_mutex_unlock(ptr %lock)
  br label %end
end:
  ret void
}

define internal void @alone(ptr %f, ptr %c, i32 %parts) {
entry:
  br label %next
next:
  %k = phi i32 [ 0, %entry ], [ %k2, %do ]
  %more = icmp ult i32 %k, %parts
  br i1 %more, label %do, label %end
do:
  call void %f(ptr %c, i32 %k)
  %k2 = add i32 %k, 1
  br label %next
end:
  ret void
}

define internal ptr @reserve(ptr %team, i64 %bytes) {
entry:
  %have = load i64, ptr %spare_bytes, align 8
  %old = load ptr, ptr %spare, align 8
  %enough = icmp uge i64 %have, %bytes
  br i1 %enough, label %end, label %grow
grow:
  call void @free(ptr %old)
  %new = call ptr @calloc(i64 1, i64 %bytes)
  store ptr %new, ptr %spare, align 8
  store i64 %bytes, ptr %spare_bytes, align 8
  ret ptr %new
end:
  ret ptr %old
}

define internal void @share(ptr %team, ptr %f, ptr %g, ptr %c, i32 %parts, i32 %cuts, i64 %bytes) {
entry:
  %pair = cmpxchg ptr %busy, i32 0, i32 1 acquire monotonic
  %mine = extractvalue { i32, i1 } %pair, 1
  br i1 %mine, label %together, label %alone
together:
  %room = call ptr @reserve(ptr %team, i64 %bytes)
  store ptr %room, ptr %c, align 8
  call void @job(ptr %team, ptr %f, ptr %c, i32 %parts)
  %any = icmp ne i32 %cuts, 0
  br i1 %any, label %gather, label %leave
gather:
  call void @job(ptr %team, ptr %g, ptr %c, i32 %cuts)
  br label %leave
leave:
  store atomic i32 0, ptr %busy release, align 4
  ret void
alone:
  %own = call ptr @calloc(i64 1, i64 %bytes)
  store ptr %own, ptr %c, align 8
  call void @alone(ptr %f, ptr %c, i32 %parts)
  call void @alone(ptr %g, ptr %c, i32 %cuts)
  call void @free(ptr %own)
  ret void
}

declare i32 @pthread_mutex_init(ptr, ptr)
declare i32 @pthread_mutex_lock(ptr)
declare i32 @pthread_mutex_unlock(ptr)
declare i32 @pthread_cond_init(ptr, ptr)
declare i32 @pthread_cond_wait(ptr, ptr)
declare i32 @pthread_cond_signal(ptr)
declare i32 @pthread_cond_broadcast(ptr)
declare ptr @calloc(i64, i64)
declare void @free(ptr)
"""
