"""Files and folders that appear whole or not at all, and JSON that is read with care.

    write_json(path, value)          a temporary name, fsync, then the right name
    with whole_folder(path) as new:  the same for a folder: write into `new`
    read_json(path)                  an object, or a ValueError of one line that names the file

A process that is killed leaves at most a file or folder whose name begins with ".new-".
"""

import contextlib
import json
import os
import shutil
import tempfile
from pathlib import Path

TEMPORARY = ".new-"


@contextlib.contextmanager
def naming(path, what="cannot be written"):
    """Turn an error of the disk into a ValueError of one line that names the path."""
    try:
        yield
    except OSError as error:
        raise ValueError(f"{path} {what}: {error.strerror or error}") from None


@contextlib.contextmanager
def scratch_beside(path):
    """A temporary folder on the same disk as `path`, for what will get its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=TEMPORARY) as scratch:
        yield Path(scratch)


def flush_to_disk(path):
    """Wait until a file's bytes are on the disk, so that its new name never shows a half file."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def write_whole(path, write):
    """Call write(temporary path), then rename it to `path`."""
    path = Path(path)
    with naming(path), scratch_beside(path) as scratch:
        new = scratch / path.name
        write(new)
        flush_to_disk(new)
        os.replace(new, path)


def write_text(path, text):
    write_whole(path, lambda new: new.write_text(text, encoding="utf-8"))


def write_json(path, value):
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


@contextlib.contextmanager
def whole_folder(folder):
    """A new folder to write into, which is renamed to `folder` at the end; an old one goes."""
    folder = Path(folder)
    with naming(folder), scratch_beside(folder) as scratch:
        new = scratch / "new"
        new.mkdir()
        yield new
        for file in new.iterdir():
            flush_to_disk(file)
        if folder.exists():
            os.rename(folder, scratch / "old")
        os.rename(new, folder)


def copy_files(source, target, names):
    """Copy those files of a folder that are there."""
    for name in names:
        if (source / name).exists():
            with naming(target):
                shutil.copyfile(source / name, target / name)


def copy_folder(source, target):
    """Copy a folder of files, whole or not at all."""
    with whole_folder(target) as new:
        for file in Path(source).iterdir():
            shutil.copyfile(file, new / file.name)


def read_json(path):
    """The object in a JSON file. Raises ValueError that names the file and what is wrong."""
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path} is missing, or no file")
    with naming(path, "cannot be read"):
        content = path.read_bytes()
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ValueError(f"{path} holds {str(value):.80}, wanted a JSON object")
    return value
