"""plumbing/download.py: files that arrive whole, or broken off, altered, raced for, killed.

    python -m pytest tests/plumbing/test_download.py    # seconds, no network

Oracle: a server on this computer that misbehaves on request and notes its requests. All files
are invented, so what should arrive is known byte by byte.
"""

import collections
import hashlib
import http.server
import io
import json
import os
import random
import threading
import time
import types
import urllib.request
import zipfile

import pytest

from data import TASKS
from plumbing import download
from plumbing.download import DownloadError, located, model_folder
from rows import write

CONTENT = random.Random(0).randbytes(300_000)
HALF = len(CONTENT) // 2
MIDDLE = f"bytes={HALF}-"
CB = TASKS["cb"].files
UNPINNED = {"size": None, "sha256": None}


def sha(content):
    return hashlib.sha256(content).hexdigest()


def flip(content):
    """The same with one byte altered, near the start."""
    return content[:9] + bytes([content[9] ^ 1]) + content[10:]


# As the hub announces a large file, before it redirects to where that lies.
LINKED = {"X-Linked-Size": str(len(CONTENT)), "X-Linked-Etag": f'W/"{sha(CONTENT)}"'}
SENT_ON = {"status": 302, "headers": LINKED | {"Location": "/a"}}


class Handler(http.server.BaseHTTPRequestHandler):
    """A server that misbehaves as the next fault says, a dict with one or more of:

    status, reason, headers; content (other bytes than the file's); cut (bytes of the body, then it
    closes); stall (the same, but it stays silent); pause (seconds after each quarter); late
    (seconds before the headers); ranges=False (it knows none); range (its Content-Range).
    """

    def do_GET(self):
        web = self.server.web
        fault = web.faults.popleft() if web.faults else {}
        time.sleep(fault.get("late", 0))
        web.requests.append((self.path, self.headers["Range"]))
        content = fault.get("content", web.files.get(self.path))
        start = int((self.headers["Range"] or "bytes=0-")[6:-1])
        status = fault.get("status", 404 if content is None else 200)
        headers = fault.get("headers", {})
        if status == 200 and start and fault.get("ranges", True):
            status = 206 if start < len(content) else 416
            headers = headers | {"Content-Range": fault.get("range", f"bytes {start}-")}
            content = content[start:]
        content = content if status in (200, 206) else b""
        self.send_response(status, fault.get("reason"))
        for name, value in ({"Content-Length": str(len(content))} | headers).items():
            if value:
                self.send_header(name, value)
        self.end_headers()
        content = content[:fault.get("cut", fault.get("stall"))]
        for i in range(4):
            self.wfile.write(content[i * len(content) // 4:(i + 1) * len(content) // 4])
            time.sleep(fault.get("pause", 0))
        if "stall" in fault:
            web.stop.wait(10)
        self.close_connection = True

    def log_message(self, *_):
        pass


@pytest.fixture
def web(tmp_path, monkeypatch):
    """A server: its .files, the .requests (path, Range) it got, the .faults of its next answers."""
    web = types.SimpleNamespace(files={"/a": CONTENT}, requests=[], faults=collections.deque(),
                                cache=tmp_path / "cache", path=tmp_path / "kept" / "file",
                                home=tmp_path / "home", stop=threading.Event())
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.web = web
    server.handle_error = lambda *_: None  # the other side has gone
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    web.url = f"http://127.0.0.1:{server.server_port}"
    for name in list(os.environ):
        if name.startswith(("HF_", "HUGGINGFACE_", "TRANSFORMERS_", "PANDA_", "XDG_")):
            monkeypatch.delenv(name)
    for name, value in {"HOME": web.home, "PANDA_T5_CACHE": web.cache, "HF_ENDPOINT": web.url,
                        "no_proxy": "127.0.0.1", "NO_PROXY": "127.0.0.1"}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setattr(download, "PAUSE", 0)
    monkeypatch.setattr(download, "TIMEOUT", 5)
    yield web
    web.stop.set()
    server.shutdown()
    server.server_close()
    thread.join()


def fetch(web, size=len(CONTENT), sha256=sha(CONTENT)):
    download.fetch(f"{web.url}/a", web.path, size, sha256)


def kept(folder):
    """What lies in a folder but lock files: path in it -> content."""
    return {str(path.relative_to(folder)): path.read_bytes()
            for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}


def ranges(web):
    return [value for _, value in web.requests]


# ------------------------------------------------------------------ whole or not at all

HTML = {"Content-Type": "text/html; charset=utf-8"}


@pytest.mark.parametrize("faults, announced, expected", [
    ([], {}, [None]),
    ([{"cut": HALF}], {}, [None, MIDDLE]),                                 # goes on
    ([{"cut": 9}, {"status": 503}, {"cut": HALF - 9}], {}, [None, "bytes=9-", "bytes=9-", MIDDLE]),
    ([{"cut": HALF}], UNPINNED, [None, None]),                             # nothing to check it by
    ([{"cut": HALF}, {"ranges": False}], {}, [None, MIDDLE]),              # sends the whole
    ([{"cut": HALF}, {"ranges": False, "headers": HTML}], {}, [None, MIDDLE, MIDDLE]),
    ([{"cut": HALF}, {"status": 416}], {}, [None, MIDDLE, None]),
    ([{"cut": HALF}, {"range": "bytes 0-299999/300000"}], {}, [None, MIDDLE, None]),
    ([{"cut": HALF}, {"range": ""}], {}, [None, MIDDLE, None]),
    ([{"cut": HALF, "headers": LINKED}, {"headers": LINKED}], UNPINNED, [None, MIDDLE]),
    ([SENT_ON, {"cut": HALF}, SENT_ON], UNPINNED, [None, None, MIDDLE, MIDDLE])])
def test_a_broken_transfer_goes_on_where_that_can_be_checked(web, faults, announced, expected):
    web.faults.extend(faults)
    for _ in range(2):  # the second time it is there
        fetch(web, **announced)
        assert ranges(web) == expected and kept(web.path.parent) == {"file": CONTENT}


def test_half_a_file_that_nothing_can_be_held_against_is_fetched_anew(web):
    web.path.parent.mkdir()
    web.path.with_name("file.part").write_bytes(bytes(HALF))  # of a call that was killed
    fetch(web, **UNPINNED)
    assert ranges(web) == [MIDDLE, None] and kept(web.path.parent) == {"file": CONTENT}


OTHER = {"X-Linked-Etag": f'"{sha(flip(CONTENT))}"', "X-Linked-Size": "7"}


@pytest.mark.parametrize("faults, announced, message", [
    ([{"content": flip(CONTENT)}], {}, "not the published file: SHA-256 .* wanted"),
    ([{"content": CONTENT[:-5]}], {}, "not the published file"),
    ([{"content": CONTENT + b"more"}], {}, "more than the 300000 bytes"),
    ([{"content": CONTENT + b"more"}], {"sha256": None}, "more than the 300000 bytes"),
    ([{"headers": {"Content-Length": ""}}], UNPINNED, "does not say how long"),
    # What the first answer announces holds, whatever a redirect's target says.
    ([SENT_ON, {"content": flip(CONTENT), "headers": OTHER}], UNPINNED, "not the published file"),
    ([SENT_ON, {"content": CONTENT + b"more"}], UNPINNED, "more than"),
    ([{"status": 403}], {}, "403"), (4 * [{"status": 503}], {}, "503"),
    (4 * [{"status": 429}], {}, "429"),
    (4 * [{"cut": 0}], {}, "0 of 300000 bytes arrived"),
    (4 * [{"content": b"<html>", "headers": HTML}], {}, "a web page came in place of the file"),
    ([{"status": 404, "reason": "no\x1b[2J\x07thing"}], {}, r"404: no\\x1b\[2J\\x07thing$")])
def test_what_is_not_the_file_is_an_error_of_one_line(web, capsys, faults, announced, message):
    tries = len(faults)
    web.faults.extend(faults)
    with pytest.raises(DownloadError, match=f"^{web.url}/a: .*{message}") as error:
        fetch(web, **announced)
    assert not web.path.exists() and not web.faults and len(web.requests) == tries
    printed = str(error.value) + capsys.readouterr().err.replace("\n", "")
    assert printed.isprintable()


@pytest.mark.parametrize("there", ["http://hub.test/a", "ftp://hub.test/a"])
def test_no_redirect_leads_away_from_https(there):
    handler = download.Redirects(download.Announced())
    request = urllib.request.Request("https://hub.test/a")
    assert handler.redirect_request(request, None, 302, "", {}, "https://cdn.test/a")
    with pytest.raises(download.WrongFile, match="a redirect from https to (http|ftp) is not foll"):
        handler.redirect_request(request, None, 302, "", {}, there)


@pytest.mark.parametrize("fault, limits, message", [
    ({"stall": 0}, {"TIMEOUT": 0.1}, "timed out"),
    ({"late": 0.4}, {"HEADER_TIME": 0.1}, "no headers within 0.1 s"),
    ({"pause": 0.12}, {"TIMEOUT": 0.2, "LEAST_SPEED": 1e9}, "less than 1000000000.0 bytes a s")])
def test_silence_and_dripping_are_errors(web, monkeypatch, fault, limits, message):
    for name, value in (limits | {"TRIES": 1}).items():
        monkeypatch.setattr(download, name, value)
    web.faults.append(fault)
    with pytest.raises(DownloadError, match=message):
        fetch(web)


def test_a_full_disk_is_named_at_once(web, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")
    monkeypatch.setattr(download, "copy", full)
    with pytest.raises(DownloadError, match="No space left.*; PANDA_T5_CACHE names another folder"):
        fetch(web)
    assert len(web.requests) == 1


@pytest.mark.parametrize("name", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_offline_sends_no_request(web, monkeypatch, name):
    monkeypatch.setenv(name, "0")
    fetch(web)
    monkeypatch.setenv(name, "1")
    fetch(web)  # it is there
    with pytest.raises(ValueError, match=f"t5-small .*{name} is set, no request is sent.*By hand"):
        model_folder("t5-small")
    assert len(web.requests) == 1


def test_of_several_at_once_one_transfers_it_however_slowly(web, monkeypatch):
    monkeypatch.setattr(download, "TIMEOUT", 0.4)
    web.faults.append({"pause": 0.15})  # 0.6 s, and never silent for 0.4
    threads = [threading.Thread(target=fetch, args=(web,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(web.requests) == 1 and kept(web.path.parent) == {"file": CONTENT}


# ---------------------------------------------------------------------------- the tasks' files


def publish(web, monkeypatch, members):
    """Let the server have CB's archive, with these members: name -> content."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    web.files["/CB.zip"] = file.getvalue()
    monkeypatch.setitem(download.ARCHIVES, "superglue/CB", (
        f"{web.url}/CB.zip", len(file.getvalue()), sha(file.getvalue())))


def test_an_archive_is_fetched_and_unpacked_once(web, monkeypatch):
    # Other members, wherever their names lead, are not unpacked.
    publish(web, monkeypatch, {"CB/train.jsonl": "a", "CB/val.jsonl": "b", "../../evil": "x",
                               "CB/../../evil": "x"})
    for _ in range(2):
        assert [path.read_text() for path in located("cb", CB)] == ["a", "b"]
    assert len(web.requests) == 1
    assert kept(web.cache.parent) == {
        "cache/data/archives/superglue/CB.zip": web.files["/CB.zip"],
        **{f"cache/data/{file}": text for file, text in zip(CB, (b"a", b"b"))}}


def test_an_archive_is_held_against_its_checksum_wherever_it_is_from(web, monkeypatch):
    publish(web, monkeypatch, {"CB/train.jsonl": "a"})
    path = web.cache / "data/archives/superglue/CB.zip"
    write(path, flip(web.files["/CB.zip"]))  # by hand
    with pytest.raises(ValueError, match=f"{path} is not the published file"):
        located("cb", CB)


def test_without_a_network_one_line_names_the_url_and_where_to_put_the_file(web, monkeypatch):
    url = "http://127.0.0.1:9/CB.zip"  # a port on which nobody listens
    monkeypatch.setitem(download.ARCHIVES, "superglue/CB", (url, 9, "0" * 64))
    by_hand = web.cache / "data/archives/superglue/CB.zip"
    with pytest.raises(ValueError, match=f"^{url} .*{by_hand}, .*{CB[0]} in it as --data FOLDER$"):
        located("cb", CB)
    assert kept(web.cache) == {}


def test_files_in_a_folder_of_ones_own(web):
    own = web.home / "own/glue/MRPC"
    write(own / "train.tsv", "")
    for name, folder, message in (("mrpc", "~/own", "mrpc_dev_ids.tsv is missing: mrpc reads"),
                                  ("cb", "~/own", "CB/train.jsonl is missing: .*without --data "),
                                  ("cb", "~/other", "the data folder ~/other is no folder"),
                                  ("conll04", None, "folder that --data names; scripts/fetch_")):
        with pytest.raises(ValueError, match=message):
            located(name, TASKS[name].files, folder)
    write(own / "dev.tsv", "")  # as GLUE's script calls it
    assert located("mrpc", TASKS["mrpc"].files, "~/own") == [own / "train.tsv", own / "dev.tsv"]


@pytest.mark.parametrize("file", [file for task in TASKS.values() for file in task.files])
def test_every_file_is_fetched_or_obtained_by_hand(file):
    assert bool(download.archive_of(file)) != (file.split("/")[0] in download.BY_HAND)


# -------------------------------------------------------------------------- a T5 by its name

SMALL = {"config.json": b"{}", "spiece.model": b"vocabulary"}
WHOLE = SMALL | {"model.safetensors": b"weights"}
MAP = json.dumps({"weight_map": {"a": "part-1.bin", "b": "part-2.bin", "c": "part-1.bin"}}).encode()
SHARDS = SMALL | {"part-1.bin": b"a and c", "part-2.bin": b"b"}
FORMS = [WHOLE, SHARDS | {"model.safetensors.index.json": MAP},
         SMALL | {"pytorch_model.bin": b"weights"}, SHARDS | {"pytorch_model.bin.index.json": MAP}]


def offer(web, files, name="t5-small"):
    web.files = {f"/{name}/resolve/main/{file}": content for file, content in files.items()}


@pytest.mark.parametrize("files", FORMS)
@pytest.mark.parametrize("name", ["t5-small", "google/t5-base-lm-adapt"])
def test_a_published_name_is_fetched_once(web, files, name):
    offer(web, files, name)
    folder = model_folder(name)
    assert folder == web.cache / "models" / name and kept(folder) == files
    names = [path.rpartition("/")[2] for path, _ in web.requests]
    forms = [form for form in names if form in download.FORMS]
    assert tuple(forms) == tuple(download.FORMS[:len(forms)]) and forms[-1] in files
    assert model_folder(name) == folder and len(web.requests) == len(names)
    assert model_folder(str(folder)) == folder


@pytest.mark.parametrize("files, faults, message", [
    (SMALL, [], "404: Not Found: there is no such name, or it is no T5"),
    ({}, [{"status": 401}], "401: Unauthorized: there is no such name, or it is private"),
    # 503 is not 404: the next form is not tried, there may be a better answer tomorrow
    (FORMS[2], [{}, {}] + 4 * [{"status": 503}], "/model.safetensors: HTTP Error 503"),
    (WHOLE, [{}, {}] + 4 * [{"cut": 3}], "/model.safetensors: 3 of 7 bytes arrived")])
def test_what_cannot_be_fetched_says_where_to_put_what(web, files, faults, message):
    offer(web, files)
    web.faults.extend(faults)
    with pytest.raises(ValueError, match=message) as error:
        model_folder("t5-small")
    for wanted in (f"{web.url}/t5-small", str(web.cache / "models/t5-small"), "--model",
                   "config.json, spiece.model and model.safetensors"):
        assert wanted in str(error.value)


@pytest.mark.parametrize("index, message", [
    (b"no index", "index.json is not JSON"), (b"{}", "weight_map is None; wanted an object"),
    (b'{"weight_map": {"a": "../outside"}}', "names '../outside'; wanted")])
def test_an_index_that_is_none_is_named_and_only_that_is_fetched_again(web, index, message):
    name = "model.safetensors.index.json"
    offer(web, SHARDS | {name: index, "../outside": b"x"})
    with pytest.raises(ValueError, match=message):
        model_folder("t5-small")
    offer(web, SHARDS | {name: MAP})
    web.requests.clear()
    assert kept(model_folder("t5-small")) == SHARDS | {name: MAP}
    assert len(web.requests) == 4  # model.safetensors, which is not there, and this and its files


@pytest.mark.parametrize("name", ["t5-smal", "./t5-small", "/no/folder", "google/..", "../t5"])
def test_a_bad_name_lists_good_ones_and_sends_no_request(web, name):
    with pytest.raises(ValueError, match=f"'{name}' is neither a folder nor .*known: t5-small, "):
        model_folder(name)
    assert web.requests == []


@pytest.mark.parametrize("variable, value, folder", [
    (None, None, ".cache/huggingface/hub"), ("XDG_CACHE_HOME", "~/xdg", "xdg/huggingface/hub"),
    ("HF_HOME", "~/hf", "hf/hub"), ("HF_HUB_CACHE", "~/kept", "kept"),
    ("HUGGINGFACE_HUB_CACHE", "~/kept", "kept")])
@pytest.mark.parametrize("repository", ["t5-small", "google-t5/t5-small"])
def test_a_whole_copy_of_the_hubs_library_is_used(web, monkeypatch, capsys, variable, value, folder,
                                                  repository):
    if variable:
        monkeypatch.setenv(variable, value)
    home = web.home / folder / f"models--{repository.replace('/', '--')}"
    snapshot = write(home / "refs/main", "c0ffee\n").parents[1] / "snapshots/c0ffee"
    for name, content in WHOLE.items():
        write(home / "blobs" / name, content)
        write(snapshot / name, "").unlink()
        (snapshot / name).symlink_to(f"../../blobs/{name}")
    assert model_folder("t5-small") == snapshot and web.requests == []
    assert capsys.readouterr().err == f"t5-small: read from the hub library's cache, {snapshot}\n"
    (home / "blobs/model.safetensors").unlink()  # a link to nothing
    assert model_folder("t5-small", weights=False) == snapshot
    offer(web, WHOLE)
    assert kept(model_folder("t5-small")) == WHOLE


def test_variables_name_the_cache_and_the_hub(web, monkeypatch):
    home = web.home
    monkeypatch.delenv("PANDA_T5_CACHE")
    assert download.cache_folder() == home / ".cache/panda-t5"
    monkeypatch.setenv("XDG_CACHE_HOME", "~/xdg")
    assert download.cache_folder() == home / "xdg/panda-t5"
    monkeypatch.setenv("PANDA_T5_CACHE", "~/own")
    assert download.cache_folder() == home / "own"
    assert download.cache_folder("~/argument") == home / "argument"
    offer(web, WHOLE, "mirror/t5-small")
    monkeypatch.setenv("HF_ENDPOINT", f"{web.url}/mirror/")
    assert model_folder("t5-small") == home / "own/models/t5-small"
    for value in ("hub.test", "ftp://hub.test", "https://me:secret@hub.test"):
        monkeypatch.setenv("HF_ENDPOINT", value)
        with pytest.raises(ValueError, match="HF_ENDPOINT is .*hub.test', wanted an addr") as error:
            model_folder("t5-base")
        assert "secret" not in str(error.value)
