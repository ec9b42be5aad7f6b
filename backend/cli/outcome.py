"""How a command ends: its exit code, and one line that says why."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType

from backend.errors import CancelledError, MienError, OutOfMemoryError


def exit_code_of(run: Callable[[], None]) -> int:
    """Run a command; turn its errors into one line on stderr and an exit code.

    Ctrl-C and SIGTERM, by which farms cancel, stop it where it is: results are written whole or
    not at all, so nothing has to be cleaned up by hand.
    """
    _interrupted.clear()
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            # Whoever starts a command in the background may have it ignore Ctrl-C.
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, _interrupt)
    try:
        run()
    except KeyboardInterrupt:
        print("\nmien: cancelled", file=sys.stderr)
        return CancelledError.exit_code
    except MienError as error:
        print(f"mien: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        # The reader of our output has gone; there is nobody left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if is_out_of_memory(error):
            print(
                f"mien: out of memory ({error}). Track a shorter range, or use --device cpu.",
                file=sys.stderr,
            )
            return OutOfMemoryError.exit_code
        raise
    return 0


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether an exception means that this machine or its GPU ran out of memory."""
    # By name, so that commands without torch do not load it to fail.
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"


_interrupted = threading.Event()


def is_interrupted() -> bool:
    """Whether somebody has asked for the command to stop.

    The exception alone may get lost: some libraries catch everything while they are imported. Long
    work asks here, too.
    """
    return _interrupted.is_set()


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    _interrupted.set()
    raise KeyboardInterrupt
