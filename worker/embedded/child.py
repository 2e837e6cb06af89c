"""Child processes which never outlive their parent."""

from __future__ import annotations

import errno
import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from worker.embedded.exec import die_with_parent

# Windows must still be able to import this module, to be told what it has not.
if sys.platform != "win32":
    import pwd

__all__ = ["die_with_parent", "kill_child", "start_child", "stop_child"]

Stream = int | IO[bytes] | None
"""Where a child's output goes: a descriptor or file, or None for the parent's own."""

# Long enough for a machine so loaded that starting Python takes seconds.
_EXEC_SECONDS = 30.0
# SIGKILL cannot be refused; only a process stuck in the kernel takes longer.
_KILL_SECONDS = 10.0
_TRAMPOLINE = Path(__file__).with_name("exec.py")


def start_child(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    stdout: Stream = None,
    stderr: Stream = None,
    cwd: str | os.PathLike[str] | None = None,
    user: int | None = None,
    pass_fds: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Start a program which the kernel kills (SIGKILL) when this process dies, however it dies.

    Call it from a thread that lives for as long as the child shall live, normally the main
    thread: the kernel kills the child when the *thread* that created it ends. On systems other
    than Linux the program is started as a plain child, which survives a killed parent.

    Returns once the program itself runs. The child has no standard input, and a process group of
    its own: a Ctrl-C at the terminal reaches the parent alone, which then stops its children in
    its own order.

    Parameters:
        argv: the program, looked up on ``PATH`` if it has no slash, and its arguments.
        env: the child's whole environment; this process's own if None.
        stdout: where its output goes; to this process's own if None.
        stderr: the same for its errors.
        cwd: the folder it starts in; this process's own if None.
        user: the id of the user to run as, in that user's primary group and no other. It takes
            root to name anyone but oneself.
        pass_fds: descriptors which the child inherits, under the same numbers.

    Raises:
        OSError: the program could not be executed (FileNotFoundError, PermissionError...), or
            the user could not be changed.
        ChildProcessError: the child ended before it could become the program.
        TimeoutError: the child did not become the program within 30 seconds.
    """
    if user == os.geteuid():
        user = None
    group = None if user is None else _primary_group(user)
    if sys.platform != "linux":
        return subprocess.Popen(
            argv,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            cwd=cwd,
            user=user,
            group=group,
            extra_groups=None if user is None else [],
            pass_fds=pass_fds,
            process_group=0,
        )

    report, child_report = os.pipe()
    try:
        try:
            child = subprocess.Popen(
                _trampoline(argv, os.environ if env is None else env, user, group, child_report),
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                cwd=cwd,
                pass_fds=(*pass_fds, child_report),
                process_group=0,
            )
        finally:
            os.close(child_report)
        # Errors of the standard library shall name the program, not the trampoline.
        child.args = list(argv)
        try:
            _await_exec(child, report, argv[0])
        except BaseException:
            kill_child(child)
            raise
        return child
    finally:
        os.close(report)


def stop_child(
    child: subprocess.Popen[bytes],
    *,
    grace: float,
    signal_number: int = signal.SIGTERM,
) -> int:
    """Ask a child to end, and kill it if it has not ended in time.

    Parameters:
        child: the child; it may have ended already.
        grace: how long to wait after the signal, in seconds.
        signal_number: the signal that asks it to end.

    Returns:
        Its exit code, negative if a signal ended it: -9 tells that the time was up.

    Raises:
        subprocess.TimeoutExpired: it is stuck in the kernel, and outlived SIGKILL by 10 seconds.
    """
    child.send_signal(signal_number)
    try:
        return child.wait(grace)
    except subprocess.TimeoutExpired:
        return kill_child(child)


def kill_child(child: subprocess.Popen[bytes]) -> int:
    """Kill a child at once (SIGKILL), wait for its end and return its exit code.

    Parameters:
        child: the child; it may have ended already.

    Raises:
        subprocess.TimeoutExpired: it is stuck in the kernel, and outlived SIGKILL by 10 seconds.
    """
    child.kill()
    return child.wait(_KILL_SECONDS)


def _trampoline(
    argv: Sequence[str],
    environment: Mapping[str, str],
    user: int | None,
    group: int | None,
    report: int,
) -> list[str]:
    """The command that ties the child to this process and then becomes the program."""
    # The tie must be made in the child, between fork and exec. preexec_fn would do so at a cost
    # of 2 ms, but runs Python in the forked copy of a process with threads, where any lock may
    # be held for ever. This trampoline costs 15 ms (medians measured here; a bare child takes
    # 1 ms) and is safe. util-linux's setpriv would take 1 ms too, but is not on every system,
    # and does not notice a parent that died before it ran.
    settings = (
        os.getpid(),
        -1 if user is None else user,
        -1 if group is None else group,
        report,
        int("LC_CTYPE" in environment),
    )
    program = _found(argv[0], environment)
    interpreter = [sys.executable, "-I", "-S", str(_TRAMPOLINE)]
    return [*interpreter, *map(str, settings), program, *argv[1:]]


def _found(program: str, environment: Mapping[str, str]) -> str:
    """The program's path: itself if it has a slash, else where ``PATH`` has it."""
    if os.sep in program:
        return program
    path = shutil.which(program, path=environment.get("PATH", os.defpath))
    if path is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), program)
    return path


def _await_exec(child: subprocess.Popen[bytes], report: int, program: str) -> None:
    """Read the trampoline's report until the exec closes it, and raise what went wrong."""
    poll = select.poll()
    poll.register(report, select.POLLIN)
    words = b""
    while True:
        if not poll.poll(_EXEC_SECONDS * 1000):
            raise TimeoutError(f"{program} was not executed within {_EXEC_SECONDS:.0f} seconds")
        piece = os.read(report, 64)
        if not piece:
            break
        words += piece
    if words == b"ready ":
        return
    if not words:
        raise ChildProcessError(
            f"{sys.executable} ended with code {child.wait(_KILL_SECONDS)} before it could"
            f" execute {program}"
        )
    code = int(words.split()[-1])
    raise OSError(code, os.strerror(code), program)


def _primary_group(user: int) -> int:
    try:
        return pwd.getpwuid(user).pw_gid
    except KeyError:
        # A user id needs no entry in the password database; its group then has the same number.
        return user
