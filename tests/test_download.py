"""plumbing/download.py: files of tasks that are whole, or broken off, altered, raced for, killed.

    python -m pytest tests/test_download.py    # seconds, nothing to download

Oracle: a server on this computer that misbehaves on request; all files are invented, so
what should arrive is known byte by byte, and the server notes what it was asked.
"""

import collections
import doctest
import errno
import hashlib
import http.server
import io
import json
import multiprocessing
import os
import random
import re
import resource
import signal
import socket
import stat
import threading
import time
import types
import zipfile
from pathlib import Path

import pytest

import data
from plumbing import download

CONTENT = random.Random(0).randbytes(300_000)
HALF = len(CONTENT) // 2
MIDDLE = f"bytes={HALF}-"
URL_FILE = "some.bin"
CB = {"CB/train.jsonl": "Mia said the kettle was on.", "CB/val.jsonl": "Tom knew that it rained."}


def sha(content):
    return hashlib.sha256(content).hexdigest()


def flip(content):
    """The same with one byte altered, near the start."""
    return content[:9] + bytes([content[9] ^ 1]) + content[10:]


def zipped(members):
    """A zip with these members: name (or ZipInfo) -> content."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def cb_files():
    row = {"hypothesis": "so it is", "label": "neutral"}
    return {name: json.dumps({"premise": premise} | row) + "\n" for name, premise in CB.items()}


@pytest.fixture
def web(tmp_path, monkeypatch):
    """A server: its .files, their .etag, what it was .asked, the .faults of the next answers.

    A fault is a dict: status (that error), cut (bytes of the body, then it closes), stall (as
    cut, but it stays silent), pause (seconds between eight pieces), add (to Content-Length),
    to (a redirection), content (other bytes), ranges=False (knows none), said (Content-Range),
    stubborn (heeds no If-Range), unsaid (no Content-Length), headers (more of them).
    """
    web = types.SimpleNamespace(files={URL_FILE: CONTENT}, etag='"one"', asked=[], ranges=[],
                                headers=[], faults=collections.deque(), sent=0,
                                go=threading.Event())

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            name, fault = self.path[1:], web.faults.popleft() if web.faults else {}
            web.asked.append(name)
            web.ranges.append(self.headers["Range"])
            web.headers.append(dict(self.headers))
            content = fault.get("content", web.files.get(name))
            if "to" in fault:
                self.send_response(302)
                self.send_header("Location", f"/{fault['to']}")
                self.send_header("Content-Length", "0")
                self.add(fault)
                return self.end_headers()
            if content is None or "status" in fault:
                self.send_response(fault.get("status", 404))
                self.add(fault)
                return self.end_headers()
            start = int(re.fullmatch(r"bytes=(\d+)-", self.headers["Range"] or "bytes=0-")[1])
            changed = self.headers["If-Range"] not in (None, web.etag) and "stubborn" not in fault
            if changed or not fault.get("ranges", True):
                start = 0
            if start and start >= len(content):
                return self.send_error(416)
            self.send_response(206 if start else 200)
            if start:
                said = f"bytes {start}-{len(content) - 1}/{len(content)}"
                self.send_header("Content-Range", fault.get("said", said))
            if web.etag:
                self.send_header("ETag", web.etag)
            body = content[start:]
            if "unsaid" not in fault:
                self.send_header("Content-Length", str(len(body) + fault.get("add", 0)))
            self.add(fault)
            self.end_headers()
            body = body[:fault.get("cut", fault.get("stall"))]
            step = len(body) // 8 + 1 if "pause" in fault else len(body) or 1
            for i in range(0, len(body), step):
                web.sent += len(body[i:i + step])  # before the other side can know
                self.wfile.write(body[i:i + step])
                time.sleep(fault.get("pause", 0))
            if "stall" in fault:
                web.go.wait(10)
            self.close_connection = True

        def do_CONNECT(self):
            web.asked.append(self.path)
            web.headers.append(dict(self.headers))
            self.send_error(502)

        def add(self, fault):
            for name, value in fault.get("headers", {}).items():
                self.send_header(name, value)

        def log_message(self, *_):
            pass

    Handler.protocol_version = "HTTP/1.1"
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    web.url = f"http://127.0.0.1:{server.server_port}"
    web.cache, web.path = tmp_path / "cache", tmp_path / "kept" / "file"
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1")
    for name in ("PANDA_T5_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(download, "PAUSE", 0)
    monkeypatch.setattr(download, "TIMEOUT", 5)
    yield web
    web.go.set()
    server.shutdown()
    server.server_close()
    thread.join()


def fetch(web, size=len(CONTENT), sha256=sha(CONTENT), file=URL_FILE):
    download.fetch(f"{web.url}/{file}", web.path, size, sha256)


def kept(folder):
    """What lies in a folder: path in it -> content."""
    return {str(path.relative_to(folder)): path.read_bytes()
            for path in folder.rglob("*") if path.is_file() or path.is_symlink()}


def publish(web, monkeypatch, archive, key="superglue/CB"):
    """Let the server have this archive, in place of the published one."""
    web.files["CB.zip"] = archive
    monkeypatch.setitem(download.ARCHIVES, key, (f"{web.url}/CB.zip", len(archive), sha(archive)))


def left_by_a_break(web, monkeypatch, **checks):
    """Half of the file arrives, then the call ends in an error."""
    with monkeypatch.context() as patch:
        patch.setattr(download, "TRIES", 1)
        web.faults.append({"cut": HALF})
        with pytest.raises(OSError, match=f"{HALF} of {len(CONTENT)} bytes"):
            fetch(web, **checks)
    assert not web.path.exists()
    web.asked.clear(), web.ranges.clear()
    web.sent = 0


def assert_whole(web, content=CONTENT):
    """The file is right, and nothing else is left."""
    assert kept(web.path.parent) == {"file": content}


UNCHECKED = {"size": None, "sha256": None}  # as for weights


def test_examples_in_the_docstrings():
    result = doctest.testmod(download)
    assert result.attempted > 0 and result.failed == 0


# ------------------------------------------------------------------ what is fetched


def test_an_archive_is_fetched_and_unpacked_once(web, monkeypatch):
    publish(web, monkeypatch, zipped(cb_files()))
    train, dev = data.load("cb", cache=web.cache)
    inputs = [f"hypothesis: so it is premise: {premise}" for premise in CB.values()]
    assert [e.input for e in train + dev] == inputs
    assert web.asked == ["CB.zip"]
    assert kept(web.cache / "data") == {
        "archives/superglue/CB.zip": web.files["CB.zip"],
        **{f"superglue/{name}": text.encode() for name, text in cb_files().items()}}
    assert data.load("cb", cache=web.cache) == (train, dev)
    assert web.asked == ["CB.zip"]


def test_the_folder_is_the_argument_or_ones_own_or_the_users(web, monkeypatch, tmp_path):
    publish(web, monkeypatch, zipped(cb_files()))
    places = [(None, tmp_path / "home" / ".cache" / "panda-t5")]
    for name, place in (("XDG_CACHE_HOME", "xdg/panda-t5"), ("PANDA_T5_CACHE", "own"),
                        (None, "argument")):
        places.append((name, tmp_path / place))
    for name, place in places:
        if name:
            monkeypatch.setenv(name, str(tmp_path / place.relative_to(tmp_path).parts[0]))
        data.load("cb", cache=place if place.name == "argument" else None)
        assert (place / "data/superglue/CB/val.jsonl").exists()
    assert len(web.asked) == len(places)


def test_plain_files_are_fetched_to_their_place(web, monkeypatch):
    pair = '{"data": [{"paragraphs": [{"context": "Ann is in Rome.", "qas": [' \
           '{"id": "1", "question": "Who?", "answers": [{"text": "Ann", "answer_start": 0}]}]}]}]}'
    for file in data.TASKS["squad"].files:
        web.files[file] = pair.encode()
        monkeypatch.setitem(download.ARCHIVES, file,
                            (f"{web.url}/{file}", len(pair), sha(pair.encode())))
    for _ in range(2):
        train, dev = data.load("squad", cache=web.cache)
        assert [e.target for e in train + dev] == ["Ann", "Ann"]
    assert tuple(web.asked) == data.TASKS["squad"].files
    assert kept(web.cache / "data") == {file: pair.encode() for file in data.TASKS["squad"].files}


def test_standard_error_has_size_and_speed(web, capsys):
    fetch(web)
    said = capsys.readouterr().err
    assert re.search(r"^some.bin: 0\.3 of 0\.3 MB, 100 %, \d+\.\d MB/s", said, re.M)


def test_licensed_files_are_asked_of_nobody(web, monkeypatch):
    monkeypatch.setattr(download, "receive", lambda *_, **__: pytest.fail("asked"))
    with pytest.raises(ValueError) as error:
        data.load("conll03", cache=web.cache)
    for part in ("conll03/eng.train and conll03/eng.testa", "https://www.clips", "Reuters", "NIST",
                 "--data"):
        assert part in str(error.value)


# ----------------------------------------------------------------------- broken off


@pytest.mark.parametrize("checks", [{}, UNCHECKED], ids=["checksum", "etag"])
def test_a_break_is_resumed_in_the_same_call(web, checks):
    web.faults.append({"cut": HALF})
    fetch(web, **checks)
    assert web.ranges == [None, MIDDLE] and web.sent == len(CONTENT)
    assert_whole(web)


@pytest.mark.parametrize("etag, checks", [('"one"', {}), (None, {}), ('W/"one"', {}),
                                          ('"one"', UNCHECKED)])
def test_the_next_call_transfers_only_the_rest(web, monkeypatch, etag, checks):
    web.etag = etag
    left_by_a_break(web, monkeypatch, **checks)
    fetch(web, **checks)
    assert web.ranges == [MIDDLE] and web.sent == len(CONTENT) - HALF
    assert_whole(web)


def test_several_breaks_are_resumed_each_where_it_was(web):
    web.faults.extend([{"cut": 1000}, {"cut": 70_000}, {"status": 503}])
    fetch(web)
    assert web.ranges == [None, "bytes=1000-", "bytes=71000-", "bytes=71000-"]
    assert_whole(web)


@pytest.mark.parametrize("etag", [None, 'W/"one"'])
def test_nothing_to_tell_by_is_no_reason_to_resume(web, monkeypatch, etag):
    web.etag = etag
    left_by_a_break(web, monkeypatch, **UNCHECKED)
    fetch(web, **UNCHECKED)
    assert web.ranges == [None]
    assert_whole(web)


def test_a_server_without_ranges_starts_over(web, monkeypatch):
    left_by_a_break(web, monkeypatch)
    web.faults.append({"ranges": False})
    fetch(web)
    assert web.ranges == [MIDDLE] and web.sent == len(CONTENT)
    assert_whole(web)


def test_another_version_starts_over(web, monkeypatch):
    left_by_a_break(web, monkeypatch, **UNCHECKED)
    web.etag, web.files[URL_FILE] = '"two"', CONTENT[::-1]
    fetch(web, **UNCHECKED)
    assert web.ranges == [MIDDLE]
    assert_whole(web, CONTENT[::-1])


def test_a_break_at_once_after_starting_over_leaves_no_hole(web, monkeypatch):
    left_by_a_break(web, monkeypatch, **UNCHECKED)
    web.etag, web.files[URL_FILE] = '"two"', CONTENT[::-1]
    web.faults.append({"cut": 0})
    fetch(web, **UNCHECKED)
    assert web.ranges == [MIDDLE, None]
    assert_whole(web, CONTENT[::-1])


@pytest.mark.parametrize("checks", [{}, UNCHECKED], ids=["checksum", "etag"])
def test_a_range_that_is_refused_starts_over(web, monkeypatch, checks):
    left_by_a_break(web, monkeypatch, **checks)
    web.faults.append({"status": 416})
    fetch(web, **checks)
    assert web.ranges == [MIDDLE, None]
    assert_whole(web)


@pytest.mark.parametrize("said", ["bytes 0-299999/300000", "", "bytes */300000"])
def test_another_range_than_asked_for_is_never_joined_to_what_is_there(web, monkeypatch, said):
    left_by_a_break(web, monkeypatch, **UNCHECKED)
    web.faults.append({"said": said})
    fetch(web, **UNCHECKED)  # started over: the last question is for the whole
    assert web.ranges[-1] is None
    assert_whole(web)


def test_a_part_of_the_rest_is_not_the_whole(web, monkeypatch):
    left_by_a_break(web, monkeypatch, **UNCHECKED)
    monkeypatch.setattr(download, "TRIES", 1)
    web.faults.append({"said": f"bytes {HALF}-250000/300000", "content": CONTENT[:250_001]})
    with pytest.raises(OSError):
        fetch(web, **UNCHECKED)
    assert not web.path.exists()


def test_halves_of_two_versions_are_never_joined(web, monkeypatch):
    left_by_a_break(web, monkeypatch, **UNCHECKED)
    web.etag, web.files[URL_FILE] = '"two"', CONTENT[::-1]
    web.faults.extend(download.TRIES * [{"stubborn": True}])
    try:
        fetch(web, **UNCHECKED)
    except OSError:
        assert not web.path.exists()
    else:
        assert_whole(web, CONTENT[::-1])


# -------------------------------------------------------------------- wrong answers


@pytest.mark.parametrize("page", [b"<html>", b"\n <!DOCTYPE html><title>Log in", b"<?xml?><html>"])
def test_a_web_page_is_not_the_file_and_costs_none_of_what_has_arrived(web, monkeypatch, page):
    left_by_a_break(web, monkeypatch, **UNCHECKED)
    with monkeypatch.context() as patch:
        patch.setattr(download, "TRIES", 1)
        web.faults.append({"content": page, "ranges": False})
        with pytest.raises(OSError, match="a web page came in place of the file"):
            fetch(web, **UNCHECKED)
    assert not web.path.exists()
    fetch(web, **UNCHECKED)
    assert web.ranges == [MIDDLE, MIDDLE]
    assert_whole(web)


@pytest.mark.parametrize("fault, says", [
    ({"unsaid": 1, "cut": HALF}, "does not say how long"), ({"content": b""}, "0 of 0 bytes")])
def test_what_cannot_be_seen_to_be_whole_is_not_taken(web, fault, says):
    web.faults.extend(download.TRIES * [fault])
    with pytest.raises(OSError, match=says):
        fetch(web, **UNCHECKED)
    assert kept(web.path.parent) == {}


# As the hub does: a large file lies elsewhere, where it is sent to; a small one is sent at once.
GIT = hashlib.sha1(b"blob %d\0" % len(CONTENT) + CONTENT).hexdigest()
LINKED = {"X-Linked-Size": str(len(CONTENT)), "X-Linked-Etag": f'"{sha(CONTENT)}"'}
SENT_ON = [{"to": URL_FILE, "headers": LINKED}]


@pytest.mark.parametrize("answers, content, says", [
    (SENT_ON, CONTENT, None),
    (SENT_ON, CONTENT[:-5], "299995 bytes, wanted 300000"),
    (SENT_ON, flip(CONTENT), "not the published file: SHA-256"),
    ([{"headers": {"X-Repo-Commit": "c" * 40}}], CONTENT, None),
    ([{"headers": {"X-Repo-Commit": "c" * 40}}], flip(CONTENT), "not the published.*git's SHA-1"),
    ([{}], flip(CONTENT), None)],
    ids=["large", "cut", "altered", "small", "small, altered", "no hub"])
def test_what_the_hub_says_of_a_file_is_held_against_it(web, answers, content, says):
    web.etag, web.files[URL_FILE] = f'"{GIT}"', content
    web.faults.extend(answers)
    if says:
        with pytest.raises(OSError, match=says):
            fetch(web, **UNCHECKED)
        assert not web.path.exists()
    else:  # the last one: an ETag is whatever a server likes, and no checksum if it is not the hub
        fetch(web, **UNCHECKED)
        assert_whole(web, content)



def test_fewer_bytes_than_announced_are_an_error(web):
    web.faults.extend(download.TRIES * [{"add": 100}])
    with pytest.raises(OSError):
        fetch(web, **UNCHECKED)
    assert not web.path.exists()


@pytest.mark.parametrize("checks", [{}, {"sha256": None}])
def test_fewer_bytes_than_published_are_an_error(web, checks):
    web.files[URL_FILE] = CONTENT[:-5]
    with pytest.raises(OSError, match="299995 bytes, wanted 300000"):
        fetch(web, **checks)
    assert web.asked == [URL_FILE] and not web.path.exists()


def test_altered_bytes_are_not_unpacked(web, monkeypatch):
    publish(web, monkeypatch, zipped(cb_files()))
    web.files["CB.zip"] = flip(web.files["CB.zip"])
    with pytest.raises(ValueError, match="not the published file: SHA-256 .* wanted"):
        data.load("cb", cache=web.cache)
    assert [name for name in kept(web.cache) if not name.endswith(".etag")] == []
    assert web.asked == ["CB.zip"]


def test_a_part_that_was_altered_is_started_over(web, monkeypatch):
    left_by_a_break(web, monkeypatch)
    part, = web.path.parent.glob("*.part")
    part.write_bytes(flip(part.read_bytes()))
    fetch(web)
    assert web.ranges == [MIDDLE, None]
    assert_whole(web)


@pytest.mark.parametrize("extra", [b"", b"more"], ids=["all", "too much"])
def test_a_part_that_has_it_all_does_not_get_in_the_way(web, extra):
    web.path.parent.mkdir()
    Path(f"{web.path}.part").write_bytes(CONTENT + extra)
    fetch(web)
    assert_whole(web)


def test_an_error_leaves_only_what_the_next_call_goes_on_from(web):
    web.faults.extend(download.TRIES * [{"cut": 0}])
    with pytest.raises(OSError):
        fetch(web)
    assert kept(web.path.parent) == {}


@pytest.mark.parametrize("status, times", [(404, 1), (403, 1), (503, 4), (429, 4)])
def test_what_may_pass_is_tried_again(web, monkeypatch, status, times):
    monkeypatch.setattr(download, "TRIES", 4)
    web.faults.extend(9 * [{"status": status}])
    with pytest.raises(OSError, match=str(status)):
        fetch(web)
    assert len(web.asked) == times and kept(web.path.parent) == {}


@pytest.mark.parametrize("asked, seconds", [("7", 7), ("0", 2), ("soon", 2), (None, 2), (
    "Fri, 01 Jan 2100 00:00:00 GMT", None), ("301", None), ("300", 300), ("9" * 5000, None)])
def test_a_server_is_asked_again_when_it_says_but_not_after_ages(
        web, monkeypatch, capsys, asked, seconds):
    waits = []
    monkeypatch.setattr(download, "PAUSE", 2)
    monkeypatch.setattr(download.time, "sleep", waits.append)
    headers = {"Retry-After": asked} if asked else {}
    web.faults.append({"status": 503, "headers": headers})
    if seconds is None:
        with pytest.raises(OSError) as error:
            fetch(web)
        assert re.search(r"503: Service Unavailable; to be asked again in \d{3,} s",
                         download.told(error.value)) and web.asked == [URL_FILE]
    else:
        fetch(web)
        assert waits[0] == seconds and f"trying again in {seconds} s" in capsys.readouterr().err


def test_a_redirection_is_followed_with_the_range(web):
    web.faults.extend([{"to": URL_FILE}, {"cut": HALF}, {"to": URL_FILE}])
    fetch(web, file="old")
    assert web.asked == ["old", URL_FILE] * 2 and web.ranges == [None, None, MIDDLE, MIDDLE]
    assert_whole(web)


def test_slow_is_not_silent(web, monkeypatch):
    monkeypatch.setattr(download, "TIMEOUT", 0.3)
    web.faults.append({"pause": 0.06})  # in all longer than TIMEOUT
    fetch(web)
    assert len(web.asked) == 1
    assert_whole(web)


@pytest.mark.parametrize("arrived", [0, HALF])
def test_silence_is_an_error(web, monkeypatch, arrived):
    monkeypatch.setattr(download, "TIMEOUT", 0.2)
    monkeypatch.setattr(download, "TRIES", 2)
    web.faults.extend(2 * [{"stall": arrived}])
    with pytest.raises(OSError, match="timed out"):
        fetch(web)
    assert len(web.asked) == 2 and not web.path.exists()


def test_without_a_network_one_line_says_what_to_do(web, monkeypatch):
    with socket.socket() as taken:  # a port on which nobody listens
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/CB.zip"
        monkeypatch.setitem(download.ARCHIVES, "superglue/CB", (url, 9, "0" * 64))
        with pytest.raises(ValueError) as error:
            data.load("cb", cache=web.cache)
    message = str(error.value)
    by_hand = str(web.cache / "data/archives/superglue/CB.zip")
    for part in url, by_hand, "--data FOLDER", "superglue/CB/train.jsonl":
        assert part in message
    assert "\n" not in message and kept(web.cache) == {}


# ------------------------------------------------------------- who asks, and through whom


def test_requests_bear_our_own_name(web):
    web.faults.append({"to": URL_FILE})
    fetch(web, file="old")
    assert [headers["User-Agent"] for headers in web.headers] == [download.AGENT] * 2
    assert "python" not in download.AGENT.lower()


@pytest.mark.parametrize("here, there, stays", [
    ("https://hub.test/a", "/b", True), ("https://hub.test/a", "https://hub.test/b", True),
    ("https://hub.test/a", "https://cdn.test/a", False),
    ("https://hub.test/a", "https://cdn.hub.test/a", False),
    ("https://hub.test/a", "https://hub.test:444/a", False),
    ("https://hub.test/a", "http://hub.test/a", False),
    ("https://hub.test/a", "//cdn.test/a", False),
    ("https://hub.test/a", "https://hub.test@cdn.test/a", False)])
def test_a_token_stays_with_its_host(here, there, stays):
    request = download.urllib.request.Request(here)
    request.add_unredirected_header("Authorization", "Bearer hf_secret")
    new = download.Redirections().redirect_request(
        request, None, 302, "", {}, download.urllib.parse.urljoin(here, there))
    assert new.get_header("Authorization") == ("Bearer hf_secret" if stays else None)
    again = download.Redirections().redirect_request(new, None, 302, "", {}, here)
    assert again.has_header("Authorization") == stays  # what is lost does not come back


def test_proxies_are_those_of_the_variables(web, monkeypatch):
    url = "http://publisher.test/some.bin"
    monkeypatch.setenv("http_proxy", web.url)
    web.files[url[1:]] = CONTENT  # a proxy is asked for the whole address
    download.fetch(url, web.path)
    assert web.asked == [url[1:]]
    monkeypatch.setenv("https_proxy", web.url)
    monkeypatch.setattr(download, "TRIES", 1)
    with pytest.raises(OSError, match="502"):
        download.fetch("https://hub.test/a", web.path.with_name("other"), token="hf_secret")
    assert web.asked[1:] == ["hub.test:443"] and "hf_secret" not in str(web.headers)
    with socket.socket() as taken:  # a port on which nobody listens
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{taken.getsockname()[1]}")
        download.fetch(f"{web.url}/{URL_FILE}", web.path.with_name("third"))  # no_proxy: directly


# ------------------------------------------------------------------------- archives


def test_an_archive_cannot_write_outside_its_folder(web, monkeypatch, tmp_path):
    link = zipfile.ZipInfo("CB/val.jsonl")
    link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    publish(web, monkeypatch, zipped({
        "../../evil": "x", "CB/../../../../evil": "x", str(tmp_path / "evil"): "x",
        "CB/train.jsonl": cb_files()["CB/train.jsonl"], link: "../../../../evil"}))
    with pytest.raises(ValueError, match="val.jsonl"):  # it holds the name of a file, no rows
        data.load("cb", cache=web.cache)
    assert set(kept(tmp_path)) == {f"cache/data/{name}" for name in (
        "archives/superglue/CB.zip", "superglue/CB/train.jsonl", "superglue/CB/val.jsonl")}
    assert not (web.cache / "data/superglue/CB/val.jsonl").is_symlink()


def test_an_archive_without_the_file_names_it(web, monkeypatch):
    publish(web, monkeypatch, zipped({"CB/train.jsonl": cb_files()["CB/train.jsonl"],
                                      "val.jsonl": "x"}))
    with pytest.raises(ValueError, match="CB.zip holds no CB/val.jsonl"):
        data.load("cb", cache=web.cache)


@pytest.mark.parametrize("good", [True, False])
def test_an_archive_put_there_by_hand_is_checked(web, monkeypatch, good):
    publish(web, monkeypatch, zipped(cb_files()))
    path = web.cache / "data/archives/superglue/CB.zip"
    path.parent.mkdir(parents=True)
    path.write_bytes(web.files["CB.zip"] if good else flip(web.files["CB.zip"]))
    if good:
        assert len(data.load("cb", cache=web.cache)[0]) == 1
    else:
        with pytest.raises(ValueError, match=f"{path} is not the published file"):
            data.load("cb", cache=web.cache)
        assert list(kept(web.cache / "data")) == ["archives/superglue/CB.zip"]
    assert web.asked == []


# ------------------------------------------------------------------------ processes

# Forks of this process, which has the server's address and the short waits.
def fork(web, work=fetch):
    """A process that fetches the file; its exit status is 0 if that went well."""
    def heard(web):  # Ctrl-C, which a job in the background is born deaf to
        signal.signal(signal.SIGINT, signal.default_int_handler)
        work(web)

    process = multiprocessing.get_context("fork").Process(target=heard, args=(web,))
    process.start()
    return process


def test_several_processes_transfer_it_once(web):
    web.faults.append({"pause": 0.05})
    processes = [fork(web) for _ in range(3)]
    for process in processes:
        process.join(10)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert web.asked == [URL_FILE]
    assert_whole(web)


@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGINT])  # SIGINT: Ctrl-C
def test_a_killed_download_is_resumed(web, by):
    web.faults.append({"stall": HALF})
    process, part = fork(web), Path(f"{web.path}.part")
    end = time.time() + 5
    while time.time() < end and not (part.exists() and part.stat().st_size):
        time.sleep(0.01)
    os.kill(process.pid, by)
    process.join()
    assert process.exitcode != 0 and not web.path.exists()
    have = part.stat().st_size
    assert 0 < have <= HALF
    fetch(web)
    assert web.ranges == [None, f"bytes={have}-"]
    assert_whole(web)


def on_a_full_disk(web):
    """No file may become longer than HALF (EFBIG, which is handled as a full disk is)."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (HALF, HALF))
    with pytest.raises(OSError) as error:
        fetch(web)
    said = download.told(error.value)
    assert f"{web.path}.part" in said and "PANDA_T5_CACHE give another folder" in said


def test_a_full_disk_is_told_at_once_and_what_has_arrived_is_kept(web):
    process = fork(web, on_a_full_disk)
    process.join(10)
    assert process.exitcode == 0 and kept(web.path.parent)["file.part"] == CONTENT[:HALF]
    fetch(web)
    assert web.ranges == [None, MIDDLE]
    assert_whole(web)


def unpacked_on_a_full_disk(web):
    resource.setrlimit(resource.RLIMIT_FSIZE, (HALF, HALF))
    with pytest.raises(ValueError, match="CB.zip could not be had .*File too large"):
        data.load("cb", cache=web.cache)


def test_a_disk_that_is_full_when_an_archive_is_unpacked_leaves_no_part_of_a_file(web, monkeypatch):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("CB/train.jsonl", " " * 2 * HALF)
    publish(web, monkeypatch, archive.getvalue())
    process = fork(web, unpacked_on_a_full_disk)
    process.join(10)
    assert process.exitcode == 0
    assert list(kept(web.cache)) == ["data/archives/superglue/CB.zip"]


@pytest.mark.parametrize("code", ["EROFS", "EACCES"])
def test_a_folder_that_cannot_be_written_is_told(web, monkeypatch, code):
    publish(web, monkeypatch, zipped(cb_files()))
    number = getattr(errno, code)

    def refuse(path, **_):
        raise OSError(number, os.strerror(number), str(path))
    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(ValueError, match=f"{os.strerror(number)}: '{web.cache}.*PANDA_T5_CACHE"):
        data.load("cb", cache=web.cache)
    assert web.asked == []


# ------------------------------------------------------------------ where files are from


REAL = [name for name, task in data.TASKS.items() if task.files]


def test_archives_are_named_by_address_size_and_checksum():
    for url, size, sha256 in download.ARCHIVES.values():
        assert url.startswith("https://") and re.fullmatch("[0-9a-f]{64}", sha256)
        assert size is None or size > 0


@pytest.mark.parametrize("name", REAL)
def test_every_file_is_fetched_or_obtained_by_hand(name):
    for file in data.TASKS[name].files:
        fetched = file in download.ARCHIVES or file.rpartition("/")[0] in download.ARCHIVES
        assert fetched != (file.split("/")[0] in download.BY_HAND)


@pytest.mark.parametrize("name, where", [
    ("conll03", "Reuters"), ("conll04", "spert"), ("conll05", "LDC99T42"),
    ("conll12", "LDC2013T19"),
    ("ontonotes", "LDC2013T19")])
@pytest.mark.parametrize("given", [True, False])
def test_files_that_cannot_be_fetched_are_named_with_where_they_are_obtained(
        tmp_path, name, where, given):
    with pytest.raises(ValueError) as error:
        data.load(name, *([tmp_path] if given else [None, tmp_path]))
    train, dev = data.TASKS[name].files
    assert f"{train} is missing: {name} reads {train} and {dev} " in str(error.value)
    assert where in str(error.value) and ("--data FOLDER" in str(error.value)) == (not given)
