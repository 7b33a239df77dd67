"""Files and folders, each whole or not at all, and locks between processes.

A file gets its name when it is whole and on the disk. Until then it lies in a folder .unfinished-…
that carries its process's number. A process holds the lock of its number as long as it lives (see
`states.Home`), and so another can tell what to take away.
"""

import contextlib
import ctypes
import errno
import fcntl
import itertools
import json
import os
import re
import secrets
import shutil
import tempfile
from pathlib import Path

from safetensors import SafetensorError

from plumbing import ranks

UNFINISHED = ".unfinished-"
os.umask(UMASK := os.umask(0))  # it can only be read by setting it
PROCESS = 1 << 60 | secrets.randbits(59)  # of this process; no key is so large


def lock(file, at, wait=False):
    """Whether this process now holds byte `at` of a file, which it does until it ends.

    None where the file system knows no locks.
    """
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB), 1, at)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        return None
    return True


def unlock(file, at):
    fcntl.lockf(file, fcntl.LOCK_UN, 1, at)


def tidy(folder, locks):
    """Take away what processes that are gone have not finished, up to two folders down.

    locks: the open file of their locks; from now on this process has one as well. A folder inside
    with a .lock of its own is another command's.
    """
    if not lock(locks, PROCESS):
        return
    with contextlib.suppress(FileNotFoundError):  # of another that is tidying, or done
        for path in (found for depth in ("", "*/", "*/*/")
                     for found in folder.glob(f"{depth}{UNFINISHED}*-*")):
            process = path.name.removeprefix(UNFINISHED).split("-")[0]
            others = any((parent / ".lock").exists() for parent in path.parents
                         if folder in parent.parents)
            if others or not re.fullmatch(r"\d{1,19}", process) or int(process) == PROCESS:
                continue
            if lock(locks, int(process)):
                shutil.rmtree(path, ignore_errors=True)
                unlock(locks, int(process))


@contextlib.contextmanager
def writing(path):
    """What the disk refuses inside is a ValueError that names the file.

    torch and safetensors have errors of their own for that.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        why = getattr(error, "strerror", None) or str(error).splitlines()[0]
        at = f" ({error.filename})" if getattr(error, "filename", None) else ""
        raise ValueError(f"{path} cannot be written: {why}{at}") from None


@contextlib.contextmanager
def scratch_for(path):
    """A folder beside a path, for what will get its name."""
    with writing(path), tempfile.TemporaryDirectory(
            dir=path.parent, prefix=f"{UNFINISHED}{PROCESS}-", ignore_cleanup_errors=True) as new:
        yield Path(new)


def flush(path):
    """Onto the disk, before it gets its name; and for others to read, which safetensors forgets."""
    with open(path, "rb+") as file:
        os.fsync(file.fileno())
        os.fchmod(file.fileno(), 0o666 & ~UMASK)


def write_whole(path, write):
    """Call write(temporary path), then give the file its name: whole or not at all."""
    if not ranks.writes():
        return
    with scratch_for(path) as scratch:
        write(scratch / path.name)
        flush(scratch / path.name)
        os.replace(scratch / path.name, path)


@contextlib.contextmanager
def whole_folder(folder):
    """A new folder to write into, which gets its name at the end: whole or not at all.

    Linux lets two folders exchange their names, so that a reader always finds one; elsewhere
    there is none for a moment.
    """
    folder, exchange = Path(folder), getattr(ctypes.CDLL(None), "renameat2", None)
    with scratch_for(folder) as scratch:
        new = scratch / "new"
        new.mkdir()
        yield new
        for file in filter(Path.is_file, new.iterdir()):
            flush(file)
        for attempt in itertools.count() if ranks.writes() else ():
            try:  # another process may want the same name, too
                os.rename(new, folder)
                break
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST) or attempt == 99:
                    raise
            if exchange and exchange(-100, bytes(new), -100, bytes(folder), 2) == 0:
                break  # -100: AT_FDCWD, 2: RENAME_EXCHANGE
            with contextlib.suppress(FileNotFoundError):
                os.rename(folder, scratch / f"old{attempt}")


def write_text(path, text):
    write_whole(path, lambda new: new.write_text(text, encoding="utf-8"))


def write_json(path, value):
    write_text(path, json.dumps(value, indent=2) + "\n")


def set_aside(path, why):
    """Give a damaged file or folder another name, and say so: what it held is made again."""
    aside = path.with_name(f"{path.name}.damaged")
    said = (str(why) or type(why).__name__).splitlines()[0]
    print(f"{path} cannot be used: {said}; it is kept as {aside.name}, and this part is trained "
          "again", flush=True)
    if ranks.writes():
        if aside.is_dir():
            shutil.rmtree(aside)
        os.replace(path, aside)


def copy(folder, new, names):
    """Copy those of a folder's files that are there."""
    for name in names:
        if (folder / name).exists():
            shutil.copy(folder / name, new / name)
