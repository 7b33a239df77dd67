"""Files from the network, once, whole, and only if they are what was published.

    located(name, files, folder, cache)   the paths of a task's files, fetched if need be
    model_folder("t5-small")              the folder of a published T5, fetched if need be
    fetch(url, path)                      any file

A broken transfer is tried again, and what has arrived waits in a .part file, from which the next
call goes on if there is a checksum to hold the result against. Checksums of the data are in the
table below; those of weights are announced by the hub (X-Linked-Etag).

Variables that are heeded: PANDA_T5_CACHE and XDG_CACHE_HOME (our cache); HF_ENDPOINT; HF_HOME,
HF_HUB_CACHE and HUGGINGFACE_HUB_CACHE (the cache of the hub's own library, which is read);
HF_HUB_OFFLINE and TRANSFORMERS_OFFLINE; http_proxy, https_proxy and no_proxy.

Not here: private and gated repositories. The hub's own tool fills its cache with them.
"""

import fcntl
import hashlib
import http.client
import os
import re
import ssl
import sys
import threading
import time
import urllib.error
import urllib.request
import zipfile
from dataclasses import dataclass
from pathlib import Path

from plumbing.checkpoint import FORMS, shard_names, weight_files
from plumbing.files import flush_to_disk, write_whole

HUB = "https://huggingface.co"
AGENT = "panda-t5"  # publishers refuse the name that Python sends by default
TIMEOUT = 60  # seconds without a byte
TRIES = 4
PAUSE = 2  # seconds before the second try, twice as many before each later one
BLOCK = 1 << 16  # bytes
HEADER_TIME = 120  # seconds until the headers of the last redirect have come
LEAST_SPEED = 1000  # bytes a second, on average after the first TIMEOUT
BEYOND_THE_END = 416  # an HTTP status: what is there already is longer than the file
AGAIN = (408, 429, BEYOND_THE_END)  # another try may help: also after a time-out, or too many

# A folder of the data folder, or one file of it -> (the zip with its files, or the file
# itself; bytes; SHA-256). The publishers' files of 2026-11.
ARCHIVES = {
    "superglue/BoolQ": (
        "https://dl.fbaipublicfiles.com/glue/superglue/data/v2/BoolQ.zip", 4118001,
        "853fbe7922f70c59629f06a39e8d9ca440c3d740e760fd3b87a5ddf3dcba2436"),
    "superglue/CB": (
        "https://dl.fbaipublicfiles.com/glue/superglue/data/v2/CB.zip", 75482,
        "8d641383298d54554066ba1c93f56ae7410af75df621b90c63028806bbbbb535"),
    "superglue/COPA": (
        "https://dl.fbaipublicfiles.com/glue/superglue/data/v2/COPA.zip", 43986,
        "405906cddac74bc1e1ce8220f1107d1025b66a25ef10149d91b10bb30651125f"),
    "superglue/MultiRC": (
        "https://dl.fbaipublicfiles.com/glue/superglue/data/v2/MultiRC.zip", 1116225,
        "b3cd440856e72eb166b2edcd37b798455f1ebd51f2c3de64c0c2a4e1971d2737"),
    "superglue/ReCoRD": (
        "https://dl.fbaipublicfiles.com/glue/superglue/data/v2/ReCoRD.zip", 51757880,
        "30c7b651ab21b8bf8fab986495cd1084333010e040548f861b839eec0044ac18"),
    "superglue/RTE": (
        "https://dl.fbaipublicfiles.com/glue/superglue/data/v2/RTE.zip", 750920,
        "6310aab3f000424c9d0318a1ff20692e07c7f4aa15e8f17a5972ea0a35c398b9"),
    "superglue/WSC": (
        "https://dl.fbaipublicfiles.com/glue/superglue/data/v2/WSC.zip", 32751,
        "2ed6dfa94556b4a128ff0441efe365b2e883124e7e6aa00fb8d3a6cb1fd520a9"),
    "superglue/WiC": (
        "https://dl.fbaipublicfiles.com/glue/superglue/data/v2/WiC.zip", 396213,
        "ee7e67f4ae9eafbf533780faa198e62167f3cda54256cdf261877be3c0e90900"),
    "glue/CoLA": (
        "https://dl.fbaipublicfiles.com/glue/data/CoLA.zip", 376971,
        "f212fcd832b8f7b435fb991f101abf89f96b933ab400603bf198960dfc32cbff"),
    "glue/SST-2": (
        "https://dl.fbaipublicfiles.com/glue/data/SST-2.zip", 7439277,
        "d67e16fb55739c1b32cdce9877596db1c127dc322d93c082281f64057c16deaa"),
    "glue/STS-B": (
        "https://dl.fbaipublicfiles.com/glue/data/STS-B.zip", 802872,
        "e60a6393de5a8b5b9bac5020a1554b54e3691f9d600b775bd131e613ac179c85"),
    "glue/QQP": (
        "https://dl.fbaipublicfiles.com/glue/data/QQP-clean.zip", None,
        "40e7c862c04eb26ee04b67fd900e76c45c6ba8e6d8fab4f8f1f8072a1a3fbae0"),
    "glue/MNLI": (
        "https://dl.fbaipublicfiles.com/glue/data/MNLI.zip", 312783507,
        "e7c1d896d26ed6caf700110645df426cc2d8ebf02a5ab743d5a5c68ac1c83633"),
    "glue/QNLI": (
        "https://dl.fbaipublicfiles.com/glue/data/QNLIv2.zip", 10627589,
        "e634e78627a29adaecd4f955359b22bf5e70f2cbd93b493f2d624138a0c0e5f5"),
    "glue/MRPC/msr_paraphrase_train.txt": (
        "https://dl.fbaipublicfiles.com/senteval/senteval_data/msr_paraphrase_train.txt", 1047044,
        "60a9b09084528f0673eedee2b69cb941920f0b8cd0eeccefc464a98768457f89"),
    "glue/MRPC/mrpc_dev_ids.tsv": (
        "https://dl.fbaipublicfiles.com/glue/data/mrpc_dev_ids.tsv", 6222,
        "971d7767d81b997fd9060ade0ec23c4fc31cbb226a55d1bd4a1bac474eb81dc7"),
    "squad/train-v1.1.json": (
        "https://rajpurkar.github.io/SQuAD-explorer/dataset/train-v1.1.json", 30288272,
        "3527663986b8295af4f7fcdff1ba1ff3f72d07d61a20f487cb238a6ef92fd955"),
    "squad/dev-v1.1.json": (
        "https://rajpurkar.github.io/SQuAD-explorer/dataset/dev-v1.1.json", 4854279,
        "95aa6a52d5d6a735563366753ca50492a658031da74f301ac5238b03966972c9"),
}
# What cannot be fetched: a folder of the data folder -> where its files are obtained.
BY_HAND = {
    "conll03": "the annotation is at https://www.clips.uantwerpen.be/conll2003/ner/, its texts "
               "(Reuters Corpus, Volume 1) are licensed by NIST",
    "conll04": "scripts/fetch_datasets.sh of https://github.com/lavis-nlp/spert downloads them",
    "conll05": "words/* and props/* in each of the two; the annotation is at "
               "https://www.cs.upc.edu/~srlconll/, its texts (Penn Treebank, LDC99T42) are "
               "licensed by the LDC",
    "conll12": "*gold_conll files at any depth of the two; the annotation is at "
               "https://conll.cemantix.org/2012/, its texts (OntoNotes 5.0, LDC2013T19) are "
               "licensed by the LDC",
    "ontonotes": "*gold_conll files at any depth of the two, the same as those of conll12 "
                 "(OntoNotes 5.0, LDC2013T19, licensed by the LDC)",
}
# What GLUE's script calls a file that is missing.
OTHER_FILES = {"glue/MRPC/msr_paraphrase_train.txt": "glue/MRPC/train.tsv",
               "glue/MRPC/mrpc_dev_ids.tsv": "glue/MRPC/dev.tsv"}


class DownloadError(Exception):
    """A download that failed. status: of an answer that is an HTTP error, else None."""

    def __init__(self, message, status=None):
        super().__init__(message)
        self.status = status


class WrongFile(Exception):
    """What has arrived is not, and cannot become, the file that was asked for."""


class Broken(Exception):
    """A transfer that has stopped, or is too slow: another try may go on from there."""


NETWORK_ERRORS = (Broken, urllib.error.URLError, http.client.HTTPException, ConnectionError,
                  TimeoutError, ssl.SSLError)


def user_cache():
    return os.environ.get("XDG_CACHE_HOME") or "~/.cache"


def cache_folder(cache=None):
    """Where downloads are kept: `cache`, or $PANDA_T5_CACHE, or the user's cache folder (XDG)."""
    folder = cache or os.environ.get("PANDA_T5_CACHE") or f"{user_cache()}/panda-t5"
    return Path(folder).expanduser()


# ----------------------------------------------------------------------------------- one file


@dataclass
class Announced:
    """What is known of a file before it has arrived; None for what is not."""

    size: int | None = None
    sha256: str | None = None

    def read(self, headers):
        """Take the hub's headers. What is known already stays, whatever a later answer says."""
        size = headers.get("X-Linked-Size", "")
        if self.size is None and size.isdecimal():
            self.size = int(size)
        checksum = headers.get("X-Linked-Etag", "").removeprefix("W/").strip('"')
        if self.sha256 is None and re.fullmatch("[0-9a-f]{64}", checksum):
            self.sha256 = checksum


class Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a redirect, never from https to another scheme; reads the headers on the way."""

    def __init__(self, announced):
        self.announced = announced

    def redirect_request(self, request, answer, code, message, headers, url):
        self.announced.read(headers)
        new = super().redirect_request(request, answer, code, message, headers, url)
        if new.type not in (request.type, "https"):
            raise WrongFile(f"a redirect from {request.type} to {new.type} is not followed")
        return new


def fetch(url, path, size=None, sha256=None):
    """Download `url` to `path`, whole or not at all; nothing to do if it is there.

    size, sha256: what the file must have; None if unknown.
    Raises DownloadError, which names the URL, if the file cannot be had or is another one.
    """
    if path.exists():
        return
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        if os.environ.get(name, "").upper() in ("1", "ON", "YES", "TRUE"):
            raise DownloadError(f"{url}: {name} is set, no request is sent")
    partial = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path.parent / ".lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # other processes wait here until the file is closed
            if not path.exists():  # another process may have been faster
                fetch_in_tries(url, partial, size, sha256)
                flush_to_disk(partial)
                os.replace(partial, path)
    except OSError as error:  # of the disk; those of the network have had their tries
        raise DownloadError(f"{url}: {error}; PANDA_T5_CACHE names another folder") from None


def fetch_in_tries(url, partial, size, sha256):
    """Bring `partial` up to the whole file, in a few tries. Raises DownloadError and OSError."""
    for attempt in range(TRIES):
        resumed = partial.exists()
        announced = Announced(size, sha256)
        print(f"fetching {url}", file=sys.stderr)
        try:
            receive(url, partial, announced)
            verify(partial, announced.sha256)
            return
        except WrongFile as error:
            partial.unlink(missing_ok=True)
            failure = error
            is_final = not resumed  # else the old half was wrong, and is gone
        except NETWORK_ERRORS as error:
            failure = error
            status = getattr(error, "code", 500)
            is_final = status < 500 and status not in AGAIN
            # Also where there is nothing to hold two halves against.
            if announced.sha256 is None or status == BEYOND_THE_END:
                partial.unlink(missing_ok=True)
        reason = repr(str(failure))[1:-1]  # of a server's control characters it shows the codes
        message = f"{url}: {reason}"
        if is_final or attempt == TRIES - 1:
            raise DownloadError(message, getattr(failure, "code", None))
        print(f"{message}; trying again", file=sys.stderr)
        time.sleep(PAUSE * 2 ** attempt)


def receive(url, partial, announced):
    """Add to `partial` what it lacks of `url`; adds to `announced` what the hub's headers say."""
    have = partial.stat().st_size if partial.exists() else 0
    headers = {"User-Agent": AGENT}
    if have:
        headers["Range"] = f"bytes={have}-"
    with answer_to(urllib.request.Request(url, headers=headers), announced) as response:
        announced.read(response.headers)
        if response.headers.get_content_type() == "text/html":
            raise Broken("a web page came in place of the file, as from a network that wants a "
                         "login first, or from a proxy")
        if response.status == 206:
            content_range = response.headers.get("Content-Range", "")
            if announced.sha256 is None or not content_range.startswith(f"bytes {have}-"):
                raise WrongFile(f"cannot go on from byte {have}")
        else:
            have = 0
        total = announced.size
        if response.length is not None:
            total = have + response.length
        if total is None and not response.chunked:
            raise WrongFile("the server does not say how long the file is")
        with open(partial, "ab" if have else "wb") as file:
            have = copy(response, file, have, announced.size or total)
    if total not in (None, have):
        raise Broken(f"{have} of {total} bytes arrived")


def answer_to(request, announced):
    """The answer to a request, when its headers have come. Raises Broken if they take too long.

    The time limit of urllib is for each byte; so the headers are waited for in a thread.
    """
    answers = []

    def wait():
        try:
            opener = urllib.request.build_opener(Redirects(announced))
            answers.append(opener.open(request, timeout=TIMEOUT))
        except Exception as error:  # raised again below
            answers.append(error)

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    thread.join(HEADER_TIME)
    if not answers:
        raise Broken(f"no headers within {HEADER_TIME} s")
    [answer] = answers
    if isinstance(answer, Exception):
        raise answer
    return answer


def copy(response, file, have, limit):
    """Write an answer behind the `have` bytes of a file; returns how many it has then.

    Raises WrongFile rather than write more than `limit`, and Broken if it takes too long.
    """
    begin = time.monotonic()
    next_print = 10
    received = 0
    for block in iter(lambda: response.read1(BLOCK), b""):
        received += len(block)
        have += len(block)
        if limit is not None and have > limit:
            raise WrongFile(f"more than the {limit} bytes that were announced")
        file.write(block)
        seconds = time.monotonic() - begin
        if received < LEAST_SPEED * (seconds - TIMEOUT):
            raise Broken(f"less than {LEAST_SPEED} bytes a second")
        if seconds > next_print:
            next_print += 10
            print(f"{file.name}: {have} of {limit or '?'} bytes", file=sys.stderr, flush=True)
    return have


def verify(path, sha256):
    """Raise WrongFile if a file has not the checksum that was announced, if one was."""
    if sha256 is None:
        return
    with open(path, "rb") as file:
        checksum = hashlib.file_digest(file, "sha256").hexdigest()
    if checksum != sha256:
        raise WrongFile(f"{path} is not the published file: SHA-256 {checksum}, wanted {sha256}")


# --------------------------------------------------------------------------- the tasks' files


def archive_of(file):
    """The key in ARCHIVES of what a file comes from: itself, or its folder; None if not there."""
    for key in (file, file.rpartition("/")[0]):
        if key in ARCHIVES:
            return key
    return None


def obtain(file, root):
    """Fetch one file of the data folder, by itself or with its archive.

    Raises ValueError that says where to put the file by hand.
    """
    key = archive_of(file)
    url, size, sha256 = ARCHIVES[key]
    path = root / file if key == file else root / "archives" / f"{key}.zip"
    try:
        fetch(url, path, size, sha256)
        verify(path, sha256)  # it may have been put there by hand
    except (DownloadError, WrongFile) as error:
        raise ValueError(f"{url} could not be fetched ({error}). By hand: put that file at {path}, "
                         f"or give a folder with {file} in it as --data FOLDER") from None
    if key != file:
        unpack(path, root / file)


def unpack(path, target):
    """Take one member out of a zip: the one that is named as the target and its folder are.

    No other name that the archive holds is used, so that none can lead out of the folder.
    """
    with zipfile.ZipFile(path) as archive:
        content = archive.read("/".join(target.parts[-2:]))
    write_whole(target, lambda new: new.write_bytes(content))


def located(name, files, folder=None, cache=None):
    """The paths of a task's files: inside `folder`, or in the cache, where they are fetched once.

    Raises ValueError that says which files are wanted and where they are obtained.
    """
    root = Path(folder).expanduser() if folder else cache_folder(cache) / "data"
    if folder and not root.is_dir():
        raise ValueError(f"the data folder {folder} is no folder")
    paths = []
    for file in files:
        path = root / file
        if not path.exists():
            path = root / OTHER_FILES.get(file, file)
        if not path.exists():
            path = root / file
            if folder or not archive_of(file):
                advice = BY_HAND.get(file.split("/")[0], "without --data they are fetched")
                raise ValueError(f"{path} is missing: {name} reads {' and '.join(files)} inside "
                                 f"the folder that --data names; {advice}")
            obtain(file, root)
        paths.append(path)
    return paths


# ---------------------------------------------------------------------- a T5 by its published name

SHORT_NAMES = ("t5-small", "t5-base", "t5-large", "t5-3b", "t5-11b")
# What an HTTP error of the hub means.
MEANINGS = {
    401: ": there is no such name, or it is private",
    403: ": it is gated: fetch it with the hub's own tool, whose cache is read",
    404: ": there is no such name, or it is no T5",
}


def published(name):
    """Raise ValueError if this cannot be the name of a published T5."""
    if name not in SHORT_NAMES and not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", name):
        raise ValueError(f"{name!r} is neither a folder nor a model's name (known: "
                         f"{', '.join(SHORT_NAMES)}, google/t5-base-lm-adapt, …)")


def library_copies(name):
    """The folders in the cache of the hub's own library with something of this T5."""
    library = os.environ.get("HF_HOME") or f"{user_cache()}/huggingface"
    hub = (os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
           or f"{library}/hub")
    folders = []
    for repository in (name, f"google-t5/{name}"):
        folder = Path(hub).expanduser() / f"models--{repository.replace('/', '--')}"
        main = folder / "refs" / "main"
        if os.access(main, os.R_OK):
            commit = main.read_text().strip()
            folders.append(folder / "snapshots" / commit)
    return folders


def is_complete(folder, weights):
    """Whether a folder has all files of a T5, readable (weights=False: its vocabulary)."""
    paths = [folder / "spiece.model"]
    if weights:
        paths += [folder / "config.json", *(weight_files(folder) or [folder / FORMS[0]])]
    return all(os.access(path, os.R_OK) for path in paths)


def fetch_checkpoint(url, folder, weights):
    """Fetch what a folder lacks of a T5. Raises DownloadError."""
    def get(file):
        fetch(f"{url}/{file}", folder / file)
        if file.endswith(".index.json"):
            check_index(folder / file)

    get("spiece.model")
    if not weights:
        return
    get("config.json")
    if not weight_files(folder):
        fetch_first_form(get)
    for path in weight_files(folder):
        get(path.name)


def fetch_first_form(get):
    """Fetch the weights, or their index, in the first form that is published."""
    for form in FORMS:
        try:
            return get(form)
        except DownloadError as error:
            if error.status != 404 or form == FORMS[-1]:
                raise


def check_index(path):
    """Delete an index that was fetched and is none, and raise the ValueError that says so."""
    try:
        shard_names(path)
    except ValueError:
        path.unlink()
        raise


def model_folder(name, cache=None, weights=True):
    """The folder of a T5: a folder as it is, or a published name, fetched once.

    name      t5-small … t5-11b, owner/repository as in google/t5-base-lm-adapt, or a folder
    weights   False: only the vocabulary is needed
    A whole copy in the cache of the hub's own library is used from there.
    Raises ValueError that says which files to put where.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    published(name)
    hub = (os.environ.get("HF_ENDPOINT") or HUB).rstrip("/")
    if not re.fullmatch(r"https?://[^\s@/]+(/\S*)?", hub):
        raise ValueError(f"HF_ENDPOINT is {hub.rpartition('@')[2]!r}, wanted an address as {HUB}")
    folder = cache_folder(cache) / "models" / name
    if is_complete(folder, weights):
        return folder
    for library_copy in library_copies(name):
        if is_complete(library_copy, weights):
            print(f"{name}: read from the hub library's cache, {library_copy}", file=sys.stderr)
            return library_copy
    try:
        fetch_checkpoint(f"{hub}/{name}/resolve/main", folder, weights)
    except DownloadError as error:
        meaning = MEANINGS.get(error.status, "")
        raise ValueError(f"{name} could not be fetched ({error}{meaning}). By hand: put its "
                         "config.json, spiece.model and model.safetensors (or pytorch_model.bin) "
                         f"into {folder}, or give their folder as --model") from None
    return folder
