"""plumbing/hub.py: checkpoints by their published names, fetched once, or not at all.

    python -m pytest tests/test_hub.py    # seconds, nothing to download

What can happen to one file on its way is in test_download.py.

Oracle: a server on this computer in place of the hub, which misbehaves on request and
notes what it was asked; all files are invented.
"""

import http.server
import json
import os
import socket
import stat
import threading
import types

import pytest

from plumbing import download
from plumbing.hub import checkpoint
from rows import write


SMALL = {"config.json": b"{}", "spiece.model": b"vocabulary"}
WHOLE = SMALL | {"model.safetensors": b"weights"}
INDEX = json.dumps({"weight_map": {"a": "part-1.safetensors", "b": "part-2.safetensors",
                                   "c": "part-1.safetensors"}}).encode()
SHARDED = SMALL | {"model.safetensors.index.json": INDEX,
                   "part-1.safetensors": b"a and c", "part-2.safetensors": b"b"}


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub on this computer: .url, the .files it has, how it .fails, what it was .asked.

    .elsewhere: part of a path -> what stands there instead in an address that it is sent to.
    .tokens: (host, Authorization) of each question.
    """
    hub = types.SimpleNamespace(files={}, fails={}, asked=[], cache=tmp_path / "cache",
                                elsewhere={}, tokens=[], library=tmp_path / "library")

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            file = self.path.partition("/resolve/main/")[2]
            hub.asked.append(self.path)
            host = self.headers["Host"].partition(":")[0]
            hub.tokens.append((host, self.headers["Authorization"]))
            fault, content = hub.fails.get(file), hub.files.get(file)
            for part, other in hub.elsewhere.items():
                if part in self.path and host == "127.0.0.1":
                    self.send_response(307)
                    self.send_header("Location", self.path.replace(part, other))
                    self.send_header("Content-Length", "0")
                    return self.end_headers()
            if isinstance(fault, dict):  # status, X-Error-Code and more headers
                self.send_response(fault["status"], fault.get("reason"))
                for name in set(fault) - {"status", "reason"}:
                    self.send_header(name, fault[name])
                self.end_headers()
            elif fault == "nonsense":
                self.wfile.write(b"this is no HTTP\r\n\r\n")
            elif isinstance(fault, int) or content is None:
                self.send_error(fault or 404)
            else:
                self.send_response(200)
                if fault == "chunk cut short":
                    self.send_header("Transfer-Encoding", "chunked")
                    content = b"ff\r\n" + content
                else:
                    length = len(content) + 100 * (fault == "cut short")
                    self.send_header("Content-Length", str(length))
                self.end_headers()
                self.wfile.write(content)

        def log_message(self, *_):
            pass

    Handler.protocol_version = "HTTP/1.1"  # before which there are no chunks
    Handler.timeout = 10
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(download, "PAUSE", 0)  # between attempts
    monkeypatch.setenv("PANDA_T5_CACHE", str(hub.cache))
    monkeypatch.setenv("HF_HOME", str(hub.library))
    for name in ("HF_ENDPOINT", "HF_HUB_CACHE", "HF_TOKEN", "HF_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1,localhost")
    download.say_once.cache_clear()
    yield hub
    server.shutdown()
    server.server_close()
    thread.join()


def names(asked):
    return [path.rpartition("/")[2] for path in asked]


def kept(folder):
    """What lies in a folder: name -> content."""
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_folder_is_taken_as_it_is(hub, tmp_path):
    assert checkpoint(str(tmp_path), hub.url) == tmp_path
    assert hub.asked == []


@pytest.mark.parametrize("name", ["t5-small", "google/t5-base-lm-adapt"])
def test_a_published_name_is_fetched_once(hub, name):
    hub.files = WHOLE
    folder = checkpoint(name, hub.url)
    assert folder == hub.cache / "models" / name and kept(folder) == WHOLE
    assert hub.asked == [f"/{name}/resolve/main/{file}" for file in WHOLE]
    hub.asked.clear()
    assert checkpoint(name, hub.url) == folder
    assert hub.asked == []


def test_weights_in_shards_are_fetched_by_their_index(hub):
    hub.files = SHARDED
    assert kept(checkpoint("t5-3b", hub.url)) == SHARDED
    assert names(hub.asked) == ["config.json", "spiece.model", "model.safetensors",
                                "model.safetensors.index.json", "part-1.safetensors",
                                "part-2.safetensors"]
    hub.asked.clear()
    checkpoint("t5-3b", hub.url)
    assert hub.asked == []


def test_weights_as_pickle_are_the_last_resort(hub):
    hub.files = SMALL | {"pytorch_model.bin": b"weights"}
    assert kept(checkpoint("t5-small", hub.url)) == hub.files
    hub.asked.clear()
    checkpoint("t5-small", hub.url)
    assert hub.asked == []


def test_only_what_is_missing_is_fetched_again(hub):
    hub.files, hub.fails = SHARDED, {"part-2.safetensors": "cut short"}
    with pytest.raises(ValueError, match="part-2"):
        checkpoint("t5-3b", hub.url)
    hub.fails = {}
    hub.asked.clear()
    assert kept(checkpoint("t5-3b", hub.url)) == SHARDED
    assert names(hub.asked) == ["part-2.safetensors"]


def test_weights_in_none_of_the_forms_are_an_error(hub):
    hub.files = SMALL
    with pytest.raises(ValueError, match="404"):
        checkpoint("t5-small", hub.url)
    assert names(hub.asked)[2:] == ["model.safetensors", "model.safetensors.index.json",
                                    "pytorch_model.bin"]


def test_a_failing_hub_is_not_one_without_the_file(hub):
    # 503 is not 404: the next form is not tried, there may be a better answer tomorrow.
    hub.files, hub.fails = SMALL | {"pytorch_model.bin": b"old"}, {"model.safetensors": 503}
    with pytest.raises(ValueError, match="503"):
        checkpoint("t5-small", hub.url)
    assert names(hub.asked)[-1] == "model.safetensors"


def assert_says_what_to_do(message, hub, name):
    """The error names where the files were sought, where to put them, and the other way."""
    assert f"{hub.url}/{name}" in message
    assert str(hub.cache / "models" / name) in message
    assert "config.json, spiece.model and model.safetensors" in message and "--model" in message


@pytest.mark.parametrize("file", WHOLE)
@pytest.mark.parametrize("fault", [
    "cut short",
    "chunk cut short", "nonsense"])
def test_a_broken_download_is_not_used_and_says_what_to_do(hub, fault, file):
    hub.files, hub.fails = WHOLE, {file: fault}
    with pytest.raises(ValueError) as error:
        checkpoint("t5-small", hub.url)
    assert_says_what_to_do(str(error.value), hub, "t5-small")
    whole = {name: content for name, content in kept(hub.cache).items()
             if not name.endswith(".part")}
    assert whole == {name: WHOLE[name] for name in list(WHOLE)[:list(WHOLE).index(file)]}


def test_a_hub_out_of_reach_says_what_to_do(hub):
    with socket.socket() as taken:  # a port on which nobody listens
        taken.bind(("127.0.0.1", 0))
        hub.url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ValueError) as error:
            checkpoint("google/t5-base-lm-adapt", hub.url)
    assert_says_what_to_do(str(error.value), hub, "google/t5-base-lm-adapt")
    assert kept(hub.cache) == {}


def test_an_index_that_is_none_is_named(hub):
    # A page in place of the file, as networks that ask for a password give it.
    hub.files = SHARDED | {"model.safetensors.index.json": b"<html>"}
    with pytest.raises(ValueError, match="model.safetensors.index.json"):
        checkpoint("t5-3b", hub.url)


def test_an_index_cannot_write_outside_its_folder(hub):
    index = json.dumps({"weight_map": {"a": "../outside"}}).encode()
    hub.files = SMALL | {"model.safetensors.index.json": index, "../outside": b"anything"}
    with pytest.raises(ValueError, match="outside"):
        checkpoint("t5-3b", hub.url)
    assert "outside" not in kept(hub.cache)


def test_a_download_is_as_readable_as_any_file(hub, tmp_path):
    hub.files = WHOLE
    folder = checkpoint("t5-small", hub.url)
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (folder / "config.json",
                                                            write(tmp_path / "plain", ""))]
    assert modes[0] == modes[1]


@pytest.mark.parametrize("name, near", [
    ("t5-smal", "did you mean t5-small"), ("T5-large", "did you mean t5-large"),
    ("./t5-small", "did you mean t5-small"),
    ("bert", "known: t5-11b"), ("/no/folder", "known: t5-11b"), ("runs/toy/t5", "known: t5-11b")])
def test_a_bad_name_suggests_near_ones_and_asks_nobody(hub, name, near):
    with pytest.raises(ValueError, match=f"'{name}' is neither a folder nor .*{near}"):
        checkpoint(name, hub.url)
    assert hub.asked == []


def test_downloads_lie_where_the_environment_says(monkeypatch, tmp_path):
    for name in ("PANDA_T5_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert download.cache_folder() == tmp_path / ".cache" / "panda-t5"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert download.cache_folder() == tmp_path / "xdg" / "panda-t5"
    monkeypatch.setenv("PANDA_T5_CACHE", str(tmp_path / "mine"))
    assert download.cache_folder() == tmp_path / "mine"


# ----------------------------------------------- the hub's own library, and its variables


def put(hub, files, repository="t5-small", folder=None):
    """The files as that library keeps them: links into a folder of contents. Their folder."""
    home = (folder or hub.library / "hub") / f"models--{repository.replace('/', '--')}"
    write(home / "refs" / "main", "c0ffee")
    for name, content in files.items():
        write(home / "blobs" / f"sum-of-{name}", content)
        link = home / "snapshots" / "c0ffee" / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(f"../../blobs/sum-of-{name}")
    return home / "snapshots" / "c0ffee"


@pytest.mark.parametrize("repository", ["t5-small", "google-t5/t5-small"])
@pytest.mark.parametrize("files", [WHOLE, SHARDED, SMALL | {"pytorch_model.bin": b"weights"}])
def test_what_the_hubs_library_has_whole_is_used_and_said(hub, capsys, files, repository):
    folder = put(hub, files, repository)
    assert checkpoint("t5-small", hub.url) == folder
    assert capsys.readouterr().err == f"t5-small: read from the hub library's cache, {folder}\n"
    assert hub.asked == [] and not hub.cache.exists()


@pytest.mark.parametrize("file", sorted(WHOLE | SHARDED))
@pytest.mark.parametrize("how", ["never fetched", "link to nothing"])
def test_what_the_hubs_library_has_in_part_is_not_used(hub, file, how):
    hub.files = files = WHOLE if file in WHOLE else SHARDED
    folder = put(hub, files)
    (folder / file if how == "never fetched" else (folder / file).resolve()).unlink()
    assert checkpoint("t5-small", hub.url) == hub.cache / "models" / "t5-small"
    assert kept(hub.cache) == files


def test_a_vocabulary_alone_is_enough_where_no_more_is_read(hub):
    folder = put(hub, {"spiece.model": b"vocabulary"})
    assert checkpoint("t5-small", hub.url, weights=False) == folder and hub.asked == []


def test_what_the_library_has_and_we_may_not_read_is_fetched(hub, monkeypatch):
    put(hub, WHOLE)
    hub.files = WHOLE
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert kept(checkpoint("t5-small", hub.url)) == WHOLE


def test_what_we_have_fetched_comes_before_what_the_library_has(hub):
    hub.files = WHOLE
    folder = checkpoint("t5-small", hub.url)
    put(hub, WHOLE)
    assert checkpoint("t5-small", hub.url) == folder


def test_the_librarys_folders_are_where_its_variables_say(hub, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("HF_HOME")
    for name, value, place in (
            (None, None, ".cache/huggingface/hub"),
            ("XDG_CACHE_HOME", tmp_path / "xdg", "xdg/huggingface/hub"),
            ("HF_HOME", "~/home", "home/hub"),
            ("HF_HUB_CACHE", tmp_path / "kept", "kept")):
        if name:
            monkeypatch.setenv(name, str(value))
        folder = put(hub, WHOLE, folder=tmp_path / place)
        assert checkpoint("t5-small", hub.url) == folder


def test_another_hub_is_one_of_a_variable(hub, monkeypatch):
    hub.files = WHOLE
    monkeypatch.setenv("HF_ENDPOINT", f"{hub.url}/mirror/")
    assert kept(checkpoint("t5-small")) == WHOLE
    assert hub.asked[0] == "/mirror/t5-small/resolve/main/config.json"


@pytest.mark.parametrize("value", ["hub.test", "ftp://hub.test", "https://me:pass@hub.test", "/"])
def test_a_variable_that_is_no_address_is_named(hub, monkeypatch, value):
    monkeypatch.setenv("HF_ENDPOINT", value)
    with pytest.raises(ValueError, match="HF_ENDPOINT is .* wanted an address") as error:
        checkpoint("t5-small")
    assert "pass" not in str(error.value)


SECRET = "hf_secret"


@pytest.mark.parametrize("variable, value, file", [
    ("HF_TOKEN", f" {SECRET} ", None), ("HF_HOME", "home", "home/token"),
    ("HF_TOKEN_PATH", "mine", "mine")])
def test_a_token_is_shown_to_the_hub_and_to_nobody_else(
        hub, monkeypatch, tmp_path, capsys, variable, value, file):
    if file:
        write(tmp_path / file, f"{SECRET}\n")
    monkeypatch.setenv(variable, str(tmp_path / value) if file else value)
    hub.files = WHOLE
    other = hub.url.replace("127.0.0.1", "localhost")
    hub.elsewhere = {"/t5-small/resolve/main/model.safetensors":
                     f"{other}/cdn/resolve/main/model.safetensors"}
    assert kept(checkpoint("t5-small", hub.url)) == WHOLE
    assert hub.tokens == 3 * [("127.0.0.1", f"Bearer {SECRET}")] + [("localhost", None)]
    hub.files, hub.fails = {}, {"config.json": {"status": 418, "reason": f"Bearer {SECRET}"}}
    with pytest.raises(ValueError, match="418: Bearer …") as error:
        checkpoint("t5-base", hub.url)
    said = capsys.readouterr()
    assert SECRET not in str(error.value) + said.out + said.err + str(kept(hub.cache))


@pytest.mark.parametrize("token", [f"{SECRET}\nX-Other: 1", f"{SECRET} b", f"{SECRET}…"])
def test_a_token_that_cannot_be_one_is_told_and_not_shown(hub, monkeypatch, token):
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(ValueError, match="^the token of HF_TOKEN has a blank, .*$") as error:
        checkpoint("t5-small", hub.url)
    assert SECRET not in str(error.value) and hub.asked == []


@pytest.mark.parametrize("status, code, token, says", [
    (401, "GatedRepo", None, "gated: ask for access on that page, then set HF_TOKEN"),
    (403, "GatedRepo", SECRET, "gated: ask for access on that page"),
    (401, "RepoNotFound", None, "no such name, or it is private: mend the name, or set HF_TOKEN"),
    (401, None, None, "no such name, or it wants a token"),
    (401, None, SECRET, "the token of HF_TOKEN is not accepted"),
    (403, None, SECRET, "access is not granted: ask for it on that page"),
    (404, "RepoNotFound", SECRET, "no such name, or it is private"),
    (404, "EntryNotFound", None, "lacks a file: see on that page whether it is a T5"),
    (404, "Unheard", None, "no such name, or it lacks a file"),
    (429, None, None, "to be asked again in 900 s: too much was asked for from here: wait, or"),
    (451, None, None, r"451: Unavailable For Legal Reasons\)")])
def test_the_hubs_answers_are_told_as_what_they_are(hub, monkeypatch, status, code, token, says):
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    hub.fails["config.json"] = {"status": status} | ({"X-Error-Code": code} if code else {}) | (
        {"Retry-After": "900"} if status == 429 else {})
    with pytest.raises(ValueError, match=says) as error:
        checkpoint("google/t5-gated", hub.url)
    assert_says_what_to_do(str(error.value), hub, "google/t5-gated")
    assert "\n" not in str(error.value) and len(hub.asked) == 1 and kept(hub.cache) == {}


def test_a_name_that_has_changed_is_followed_and_said_once(hub, monkeypatch, capsys):
    monkeypatch.setenv("HF_TOKEN", SECRET)
    hub.files, hub.elsewhere = WHOLE, {"/t5-small/": "/google-t5/t5-small-too/"}
    assert kept(checkpoint("t5-small", hub.url)) == WHOLE
    assert capsys.readouterr().err.count("t5-small is called google-t5/t5-small-too by now") == 1
    assert hub.tokens == 6 * [("127.0.0.1", f"Bearer {SECRET}")]


def test_a_name_that_leads_round_in_a_circle_is_one_line(hub):
    hub.elsewhere = {"/t5-small/": "/t5-small/"}
    with pytest.raises(ValueError, match="infinite loop") as error:
        checkpoint("t5-small", hub.url)
    assert "\n" not in str(error.value)


def test_a_folder_that_cannot_be_written_serves_what_is_in_it(hub, monkeypatch):
    hub.files = WHOLE
    folder = checkpoint("t5-small", hub.url)
    monkeypatch.setattr(download, "locked", None)
    monkeypatch.setattr(download.Path, "mkdir", None)
    assert checkpoint("t5-small", hub.url) == folder
