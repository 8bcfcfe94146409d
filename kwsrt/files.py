"""Text files as people have them, and files that are written whole or not at all."""

import contextlib
import os
import secrets
import stat
from pathlib import Path

from kwsrt.errors import OptionError

# What UTF-16 text begins with; Windows writes it.
UTF16 = (b"\xff\xfe", b"\xfe\xff")


def read_text(path: str | Path) -> str:
    """A text file, UTF-8 in every locale, with or without a byte order mark; UTF-16 where its mark says so.

    Lines end in "\\n", whatever ends them in the file.

    Raises
    ------
    OptionError : a file that cannot be read, or that is no text.
    """
    try:
        return _utf8(path, "file").decode().replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError:
        raise OptionError(f"{path}: cannot read the file: it is no UTF-8 text") from None


def read_lines(path: str | Path) -> list[str]:
    """The lines of a text file that lists file names, without the blanks around them; empty lines are left out.

    Names may hold any bytes that names of files do: they are decoded as `os.fsdecode` does.

    Raises
    ------
    OptionError : as `read_text`.
    """
    lines = [os.fsdecode(line.strip()) for line in _utf8(path, "list").splitlines()]
    return [line for line in lines if line]


def _utf8(path: str | Path, kind: str) -> bytes:
    """A text file's bytes as UTF-8 without a mark."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise OptionError(f"{path}: cannot read the {kind}: {error.strerror or error}") from None
    if data.startswith(UTF16):
        try:
            data = data.decode("utf-16").encode()
        except UnicodeError:
            raise OptionError(f"{path}: cannot read the {kind}: it is no text") from None
    if b"\0" in data:
        raise OptionError(f"{path}: cannot read the {kind}: it is no text")
    return data.removeprefix(b"\xef\xbb\xbf")


def check_writable(path: str | Path, *, replaces: bytes = b"") -> None:
    """Make sure that `write` can write there, before the work whose result it will be.

    Parameters
    ----------
    replaces : what a file that is there already must begin with, such as kwsrt.format.MAGIC: any other file is left as
        it is. An empty file may always be replaced.

    Raises
    ------
    OptionError : no such folder, a folder of that name, no right to write, or a file that must not be replaced.
    """
    path = Path(path)
    target = Path(os.path.realpath(path))
    try:
        found = _found(path)
        if found is not None and stat.S_ISDIR(found.st_mode):
            raise OptionError(f"{path}: cannot write: it is a folder")
        if found is None or stat.S_ISREG(found.st_mode):
            if not target.parent.is_dir():
                raise OptionError(f"{path}: cannot write: no such folder")
            allowed = os.access(target.parent, os.W_OK | os.X_OK)
        else:
            allowed = os.access(path, os.W_OK)
        if not allowed:
            raise OptionError(f"{path}: cannot write: no permission")
        if replaces and found is not None and stat.S_ISREG(found.st_mode) and found.st_size:
            with path.open("rb") as file:
                if file.read(len(replaces)) != replaces:
                    raise OptionError(f"{path}: cannot write: another kind of file is there, which is left as it is")
    except (OSError, ValueError) as error:
        if isinstance(error, OptionError):
            raise
        raise OptionError(f"{path}: cannot write: {getattr(error, 'strerror', None) or error}") from None


def write(path: str | Path, data: bytes | str, *, replaces: bytes = b"") -> None:
    """Write a file whole or not at all: what was there before is replaced once all of it is on the disk.

    What is no regular file, such as /dev/stdout or a pipe, is written to as it is.

    Parameters
    ----------
    data : bytes, or text to be written as UTF-8. replaces : see `check_writable`.

    Raises
    ------
    OptionError : the file cannot be written, for example because the disk is full; see also `check_writable`.
    """
    check_writable(path, replaces=replaces)
    path = Path(path)
    content = data.encode() if isinstance(data, str) else data
    try:
        found = _found(path)
        if found is None or stat.S_ISREG(found.st_mode):
            _replace(Path(os.path.realpath(path)), content, None if found is None else stat.S_IMODE(found.st_mode))
        else:
            with path.open("wb") as file:
                file.write(content)
    except OSError as error:
        raise OptionError(f"{path}: cannot write: {error.strerror or error}") from None


def _found(path: Path) -> os.stat_result | None:
    """What is there, behind links; None if nothing is."""
    with contextlib.suppress(FileNotFoundError):
        return path.stat()
    return None


def _replace(path: Path, content: bytes, mode: int | None) -> None:
    """Write beside `path`, wait for the disk, and rename."""
    unfinished = path.with_name(f".{secrets.token_hex(6)}.unfinished")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        with open(descriptor, "wb") as file:
            if mode is not None:
                os.fchmod(descriptor, mode)
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        os.replace(unfinished, path)
    except BaseException:
        with contextlib.suppress(OSError):
            unfinished.unlink()
        raise
