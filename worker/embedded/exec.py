"""The trampoline: become another program which dies together with its parent.

Run by its path, as ``python -I -S exec.py PARENT UID GID REPORT LOCALE PROGRAM ARGUMENTS...``, by
`worker.embedded.child.start_child`. It imports as little as it can, because each start of an
embedded server waits for it (`signal` alone, with its enumerations, would add half as much again).
"""

from __future__ import annotations

import ctypes
import os
import sys

SIGKILL = 9
_SIGINT = 2
_SIGQUIT = 3
_SIGPIPE = 13
_SIGXFSZ = 25
_PR_SET_PDEATHSIG = 1


def die_with_parent(expected_parent: int, signal_number: int = SIGKILL) -> None:
    """Have the kernel signal this process when its parent ends, however that ends.

    For a process that already runs, such as a Celery pool's child. The setting outlives an
    ``exec`` but not a fork nor a change of user. The kernel takes the *thread* that created this
    process for its parent: a child forked by a helper thread is signalled when that thread ends.
    On systems other than Linux this does nothing.

    Parameters:
        expected_parent: the process id of the parent, read by the parent itself before it
            created this process. If it is no longer the parent, the signal is sent at once.
        signal_number: the signal to receive.

    Raises:
        OSError: the kernel refused, for instance because there is no such signal.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal_number)) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    # The parent may have ended before the line above; the kernel then has nobody to watch.
    if os.getppid() != expected_parent:
        os.kill(os.getpid(), signal_number)


def main(arguments: list[str]) -> None:
    """Change user if asked to, tie this process to its parent, and become the program.

    The pipe ``REPORT`` tells the parent how it went: ``ready`` before the ``exec``, which closes
    the pipe if it succeeds, and an ``errno`` after anything that failed.

    Parameters:
        arguments: the parent's process id; the user and group to become, or -1; the pipe's
            descriptor; 1 if ``LC_CTYPE`` was in the environment, else 0; the program's path
            and its arguments.
    """
    parent, user, group, report, keep_locale = map(int, arguments[:5])
    program = arguments[5:]
    os.set_inheritable(report, False)
    try:
        if user >= 0:
            # From here on nothing may be imported, as os.execvp would do: the new user may be
            # unable to read Python's library.
            os.setgroups([])
            os.setgid(group)
            os.setuid(user)
        # After the change of user, which would clear the setting.
        die_with_parent(parent)
        _undo_interpreter(bool(keep_locale))
        os.write(report, b"ready ")
        os.execv(program[0], program)
    except OSError as error:
        os.write(report, str(error.errno or 0).encode())
        os._exit(127)


def _undo_interpreter(keep_locale: bool) -> None:
    # Python ignores the last two, and a shell's script the first two for what it starts in the
    # background; ignored signals stay ignored across an exec.
    libc = ctypes.CDLL(None)
    for number in (_SIGINT, _SIGQUIT, _SIGPIPE, _SIGXFSZ):
        libc.signal(number, None)
    # In the C locale Python adds LC_CTYPE to its own environment, which the program would inherit.
    if not keep_locale:
        os.environ.pop("LC_CTYPE", None)


if __name__ == "__main__":
    main(sys.argv[1:])
