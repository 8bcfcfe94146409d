"""What the commands print, and one line and an exit code for everything that the machine may refuse them.

Names and labels are shown so that they cannot move the cursor, change colours or begin a line of their own.
"""

import contextlib
import errno
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TextIO

from kwsrt.errors import AudioWarning, KwsrtError

OUTPUT = "standard output"


def shown(text: object) -> str:
    """A label, name or message as one line of printable characters; what is none becomes an escape such as \\x1b."""
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in str(text))


def say(*lines: str) -> None:
    """Print the lines of a result, at once.

    Raises
    ------
    OSError : it cannot be written, for example because the disk is full; `guarded` reports it.
    """
    try:
        print("\n".join(map(shown, lines)), flush=True)
    except OSError as error:
        raise _output_error(error) from None


def note(text: object, program: str = "kwsrt") -> None:
    """Print a remark as one line on standard error, if anybody can read it there."""
    if sys.stderr is None:
        return
    try:
        print(f"{program}: {shown(text)}", file=sys.stderr, flush=True)
    except OSError:
        _discard(sys.stderr)


def report(error: object, program: str = "kwsrt") -> None:
    """Print an error as one line on standard error, if anybody can read it there."""
    note(f"error: {described(error)}", program)


def described(error: object) -> str:
    """What went wrong, in words."""
    if isinstance(error, MemoryError):
        return "out of memory"
    if isinstance(error, BrokenProcessPool):
        return "a process that did part of the work was ended from outside, or ran out of memory"
    if isinstance(error, OverflowError):
        return f"a number is too large: {error}"
    if isinstance(error, UnicodeEncodeError):
        return f"{error.object[:80]!r} cannot be written in the encoding of this locale, {error.encoding}"
    if isinstance(error, OSError) and not isinstance(error, KwsrtError):
        what = error.strerror or str(error)
        if isinstance(error.filename, (str, bytes)):
            return f"{os.fsdecode(error.filename)}: {what}"
        return "standard input is closed" if error.errno == errno.EBADF else what
    return str(error).strip()


def guarded(work: Callable[[], int], program: str = "kwsrt") -> int:
    """Do the work of a command and return its exit code.

    Trouble of every day is reported as one line: what kwsrt refuses, a full disk, closed streams, no memory, processes
    that were ended from outside, numbers beyond what a machine counts to. A fault of the program itself is raised.

    Returns
    -------
    What `work` returned; 2 after an error; 130 when it was interrupted, 141 when the reader of the output went away.
    """
    open_streams()
    try:
        try:
            with warnings_shown(program):
                return work()
        finally:
            _flush()
    except KeyboardInterrupt:
        return 130
    except (KwsrtError, OSError, MemoryError, BrokenProcessPool, UnicodeEncodeError, OverflowError) as error:
        if isinstance(error, BrokenPipeError) and error.filename == OUTPUT:
            return 141
        report(error, program)
        return 2


@contextlib.contextmanager
def warnings_shown(program: str) -> Iterator[None]:
    """Each AudioWarning is printed as one line on standard error, and the same text only once."""
    told: set[str] = set()
    with warnings.catch_warnings():
        warnings.simplefilter("always", AudioWarning)
        usual = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
            if issubclass(category, AudioWarning):
                if str(message) not in told:
                    note(f"warning: {message}", program)
                told.add(str(message))
            else:
                usual(message, category, *where, **more)

        warnings.showwarning = show
        yield


def open_streams() -> None:
    """Put something in the place of standard streams that are closed, and let output name what a terminal cannot show.

    A closed stream is None in Python, and the next file that is opened would get its number: a recording would then
    receive what is printed. Reading from and writing to what stands in for it fails, but errors are dropped silently.
    """
    for name, mode, flags in (("stdin", "r", os.O_WRONLY), ("stdout", "w", os.O_RDONLY), ("stderr", "w", os.O_WRONLY)):
        if getattr(sys, name) is None:
            descriptor = os.open(os.devnull, flags)
            stand_in = open(descriptor, mode, encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
            setattr(sys, name, stand_in)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _flush() -> None:
    try:
        sys.stdout.flush()
    except OSError as error:
        raise _output_error(error) from None


def _output_error(error: OSError) -> OSError:
    """The same error with the stream's name; of a pipe that nobody reads, OSError makes a BrokenPipeError."""
    _discard(sys.stdout)
    number = error.errno or errno.EIO
    return OSError(number, "it is closed" if number == errno.EBADF else os.strerror(number), OUTPUT)


def _discard(stream: TextIO) -> None:
    """Let a stream that fails lead nowhere: the interpreter writes what it still holds when it ends."""
    with contextlib.suppress(OSError, ValueError):
        descriptor = os.open(os.devnull, os.O_WRONLY)
        os.dup2(descriptor, stream.fileno())
        os.close(descriptor)
