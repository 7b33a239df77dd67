"""plumbing/hub.py: checkpoints by their published names, fetched once, or not at all.

    python -m pytest tests/test_hub.py    # seconds, nothing to download

What can happen to one file on its way is in test_download.py.

Oracle: a server on this computer in place of the hub, which misbehaves on request and
notes what it was asked; all files are invented.
"""

import http.server
import json
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
    """A hub on this computer: .url, the .files it has, how it .fails, what it was .asked."""
    hub = types.SimpleNamespace(files={}, fails={}, asked=[], cache=tmp_path / "cache")

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            file = self.path.partition("/resolve/main/")[2]
            hub.asked.append(self.path)
            fault, content = hub.fails.get(file), hub.files.get(file)
            if fault == "nonsense":
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
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1")
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
