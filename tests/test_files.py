"""Files whole or not at all, and what stays of processes that are gone.

    python -m pytest tests/test_files.py

Oracle: what a reader finds at any moment.
"""

import concurrent.futures
import json
import sys

import pytest
import torch
from safetensors.torch import save_file

import prompt
from plumbing import files, states
from workbench import in_another_process


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "deep" / "file.json"
    files.write_json(path, {"a": 1})

    def breaks(new):
        new.write_text("hal")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        files.write_whole(path, breaks)
    assert json.loads(path.read_text()) == {"a": 1}
    assert [file.name for file in path.parent.iterdir()] == ["file.json"]  # nothing lies about


def test_a_folder_is_written_whole_or_not_at_all(tmp_path):
    for content in ("1", "2"):  # the second takes the place of the first
        with files.whole_folder(tmp_path / "folder") as new:
            (new / f"{content}.txt").write_text(content)
    with pytest.raises(KeyboardInterrupt):
        with files.whole_folder(tmp_path / "folder") as new:
            (new / "3.txt").write_text("3")
            raise KeyboardInterrupt
    assert [path.name for path in tmp_path.rglob("*")] == ["folder", "2.txt"]


def test_many_may_write_the_same_folder(tmp_path):
    # Each of them whole; the last one's stays, and nothing else.
    def write(k):
        for _ in range(40):
            with files.whole_folder(tmp_path / "folder") as new:
                for name in ("a", "b"):
                    (new / name).write_text(str(k))

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))  # which raises what any of them raised
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
    assert (tmp_path / "folder" / "a").read_text() == (tmp_path / "folder" / "b").read_text()


def test_a_disk_that_will_not_take_a_file_is_told_with_its_name(tmp_path):
    """As whoever: root may write anywhere, but not below a file."""
    (tmp_path / "file").write_text("")
    for write in (lambda path: files.write_json(path, {}), lambda path: prompt.save(
            path, torch.zeros(2, 3), {})):
        with pytest.raises(ValueError, match="file.a cannot be written: (Not a dir|File exists)"):
            write(tmp_path / "file" / "a")
    (tmp_path / "b").mkdir()  # a folder where a file should be
    with pytest.raises(ValueError, match="b cannot be written: Is a directory"):
        files.write_json(tmp_path / "b", {})
    with pytest.raises(ValueError, match="x cannot be written: File name too long"):
        files.write_json(tmp_path / ("x" * 300) / "x", {})

    def full(new):  # as torch has it
        raise RuntimeError("iostream error")

    with pytest.raises(ValueError, match="c cannot be written: iostream error"):
        files.write_whole(tmp_path / "c", full)
    assert {path.name for path in tmp_path.iterdir()} == {"file", "b"}  # nothing half-done stays


def test_what_a_killed_process_has_not_finished_is_taken_away_by_the_next(tmp_path):
    gone, alive = 1 << 60 | 1, 1 << 60 | 2
    for number, folder in ((gone, tmp_path), (gone, tmp_path / "pair" / "prompts"),
                           (alive, tmp_path / "trained")):
        (folder / f"{files.UNFINISHED}{number}-x" / "new").mkdir(parents=True)
    (tmp_path / ".unfinished-notes-of-mine").mkdir()  # somebody else's
    locks = str(tmp_path / ".lock")
    with in_another_process(f"[f := open({locks!r}, 'a'), files.lock(f, {alive})]"):
        states.Home(tmp_path)
        left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob(".unfinished*")}
        assert left == {f"trained/{files.UNFINISHED}{alive}-x", ".unfinished-notes-of-mine"}
    states.Home(tmp_path)  # now that one is gone, too
    assert not list((tmp_path / "trained").iterdir())


def test_nothing_is_taken_away_where_nobody_can_tell_whose_it_is(tmp_path, monkeypatch):
    inner = tmp_path / "all" / f"{files.UNFINISHED}{1 << 60 | 1}-x"  # of a command with --out all
    strange = tmp_path / f"{files.UNFINISHED}{10 ** 25}-x"
    for folder in (inner, strange):
        folder.mkdir(parents=True)
    (tmp_path / "all" / ".lock").write_text("")
    states.Home(tmp_path)
    assert inner.exists() and strange.exists()
    (tmp_path / "all" / ".lock").unlink()
    with monkeypatch.context() as patch:  # a file system without locks
        patch.setattr(files, "lock", lambda *_: None)
        states.Home(tmp_path)
        assert inner.exists()
    states.Home(tmp_path)
    assert not inner.exists()


def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    done = []
    for name in ("fsync", "replace", "rename"):
        whole = getattr(files.os, name)
        monkeypatch.setattr(files.os, name, lambda *args, name=name, whole=whole: (
            done.append(name), whole(*args)))
    files.write_json(tmp_path / "a.json", 1)
    assert done == ["fsync", "replace"]
    prompt.save(tmp_path / "p", torch.zeros(2, 3), {"task": "cb"})
    assert done[2:] == ["fsync"] * 3 + ["rename"]


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux: folders exchange names")
def test_a_folder_that_is_replaced_is_always_there_for_readers(tmp_path):
    def write():
        for k in range(100):
            prompt.save(tmp_path / "p", torch.full((2, 4), float(k)), {"task": "cb", "seed": k})
        return []

    def read(_):
        found = []
        while not written.done():
            assert (tmp_path / "p" / "prompt.json").exists()
            vectors, made_by = prompt.load(tmp_path / "p")
            found.append((vectors.unique().tolist(), made_by["seed"]))
        return found

    write()
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        written = pool.submit(write)
        found = sum(pool.map(read, range(3)), written.result())
    assert found and all(numbers == [seed] for numbers, seed in found)  # of one writing


def test_files_are_for_others_to_read_as_the_system_has_it(tmp_path):
    (tmp_path / "plain").write_text("")
    prompt.save(tmp_path / "p", torch.zeros(2, 3), {"task": "cb"})
    files.write_whole(tmp_path / "a", lambda new: save_file({"a": torch.zeros(1)}, new))
    modes = {path.stat().st_mode for path in tmp_path.rglob("*") if path.is_file()}
    assert modes == {(tmp_path / "plain").stat().st_mode}
