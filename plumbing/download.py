"""Files from the network, once, whole, and only if they are what was published.

    obtain("superglue/CB/train.jsonl", root)    a file of a task, out of its publisher's archive
    fetch(url, path)                            any file; those of a T5 are known to hub.py

What has arrived of a broken transfer waits in a .part file, and the next call goes on there.
Processes that want the same file wait for each other (fcntl: Linux and macOS). The variables
http_proxy, https_proxy and no_proxy are heeded.
"""

import contextlib
import email.utils
import errno
import fcntl
import functools
import hashlib
import http.client
import os
import re
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from pathlib import Path

FAIR = "https://dl.fbaipublicfiles.com/"
SQUAD = "https://rajpurkar.github.io/SQuAD-explorer/dataset/"
AGENT = "panda-t5"  # publishers refuse the name that Python gives by itself
TIMEOUT, TRIES, PAUSE = 60, 4, 2  # seconds without a byte; attempts; seconds before the second one
LONGEST = 300  # seconds that a server may ask us to wait (Retry-After): beyond, we say so and end
WEB_PAGE = re.compile(rb"\s*<(!doctype html|html|\?xml)", re.I)
# Of this computer, not of the network: no room, no right to write.
LOCAL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM)

# A folder of the data folder, or one file of it -> (the zip with its files, or the file
# itself; bytes; SHA-256). The publishers' files of 2026-11.
ARCHIVES = {
    "superglue/BoolQ": (FAIR + "glue/superglue/data/v2/BoolQ.zip", 4118001,
                        "853fbe7922f70c59629f06a39e8d9ca440c3d740e760fd3b87a5ddf3dcba2436"),
    "superglue/CB": (FAIR + "glue/superglue/data/v2/CB.zip", 75482,
                     "8d641383298d54554066ba1c93f56ae7410af75df621b90c63028806bbbbb535"),
    "superglue/COPA": (FAIR + "glue/superglue/data/v2/COPA.zip", 43986,
                       "405906cddac74bc1e1ce8220f1107d1025b66a25ef10149d91b10bb30651125f"),
    "superglue/MultiRC": (FAIR + "glue/superglue/data/v2/MultiRC.zip", 1116225,
                          "b3cd440856e72eb166b2edcd37b798455f1ebd51f2c3de64c0c2a4e1971d2737"),
    "superglue/ReCoRD": (FAIR + "glue/superglue/data/v2/ReCoRD.zip", 51757880,
                         "30c7b651ab21b8bf8fab986495cd1084333010e040548f861b839eec0044ac18"),
    "superglue/RTE": (FAIR + "glue/superglue/data/v2/RTE.zip", 750920,
                      "6310aab3f000424c9d0318a1ff20692e07c7f4aa15e8f17a5972ea0a35c398b9"),
    "superglue/WSC": (FAIR + "glue/superglue/data/v2/WSC.zip", 32751,
                      "2ed6dfa94556b4a128ff0441efe365b2e883124e7e6aa00fb8d3a6cb1fd520a9"),
    "superglue/WiC": (FAIR + "glue/superglue/data/v2/WiC.zip", 396213,
                      "ee7e67f4ae9eafbf533780faa198e62167f3cda54256cdf261877be3c0e90900"),
    "glue/CoLA": (FAIR + "glue/data/CoLA.zip", 376971,
                  "f212fcd832b8f7b435fb991f101abf89f96b933ab400603bf198960dfc32cbff"),
    "glue/SST-2": (FAIR + "glue/data/SST-2.zip", 7439277,
                   "d67e16fb55739c1b32cdce9877596db1c127dc322d93c082281f64057c16deaa"),
    "glue/STS-B": (FAIR + "glue/data/STS-B.zip", 802872,
                   "e60a6393de5a8b5b9bac5020a1554b54e3691f9d600b775bd131e613ac179c85"),
    "glue/QQP": (FAIR + "glue/data/QQP-clean.zip", None,
                 "40e7c862c04eb26ee04b67fd900e76c45c6ba8e6d8fab4f8f1f8072a1a3fbae0"),
    "glue/MNLI": (FAIR + "glue/data/MNLI.zip", 312783507,
                  "e7c1d896d26ed6caf700110645df426cc2d8ebf02a5ab743d5a5c68ac1c83633"),
    "glue/QNLI": (FAIR + "glue/data/QNLIv2.zip", 10627589,
                  "e634e78627a29adaecd4f955359b22bf5e70f2cbd93b493f2d624138a0c0e5f5"),
    "glue/MRPC/msr_paraphrase_train.txt": (
        FAIR + "senteval/senteval_data/msr_paraphrase_train.txt", 1047044,
        "60a9b09084528f0673eedee2b69cb941920f0b8cd0eeccefc464a98768457f89"),
    "glue/MRPC/mrpc_dev_ids.tsv": (
        FAIR + "glue/data/mrpc_dev_ids.tsv", 6222,
        "971d7767d81b997fd9060ade0ec23c4fc31cbb226a55d1bd4a1bac474eb81dc7"),
    "squad/train-v1.1.json": (SQUAD + "train-v1.1.json", 30288272,
                              "3527663986b8295af4f7fcdff1ba1ff3f72d07d61a20f487cb238a6ef92fd955"),
    "squad/dev-v1.1.json": (SQUAD + "dev-v1.1.json", 4854279,
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


def cache_folder(cache=None):
    """Where downloads are kept: `cache`, or $PANDA_T5_CACHE, or the user's cache folder (XDG)."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(cache or os.environ.get("PANDA_T5_CACHE") or home / "panda-t5")


class NotTheFile(OSError):
    """What has arrived is not, and cannot become, what was asked for."""


@functools.cache
def say_once(text):
    print(text, file=sys.stderr)


class Redirections(urllib.request.HTTPRedirectHandler):
    """Follows them, and notes what the hub says of a file before it sends to where that lies.

    A token stays with the host that it is for, its scheme and port included.
    """

    def __init__(self):
        self.size = self.checksum = None

    def note(self, headers):
        """X-Linked-Etag is a SHA-256, or git's SHA-1, which a small file has as its ETag."""
        tag = headers.get("X-Linked-Etag") or headers.get("X-Repo-Commit") and headers.get("ETag")
        if found := re.fullmatch('(?:W/)?"?([0-9a-f]{40}|[0-9a-f]{64})"?', tag or ""):
            self.checksum = found[1]
        if re.fullmatch("[0-9]{1,18}", headers.get("X-Linked-Size", "")):
            self.size = int(headers["X-Linked-Size"])

    def redirect_request(self, request, answer, code, message, headers, url):
        if headers.get("X-Linked-Etag"):
            self.note(headers)
        new = super().redirect_request(request, answer, code, message, headers, url)
        here, there = (urllib.parse.urlsplit(r.full_url) for r in (request, new))
        if here[:2] == there[:2]:  # scheme; host and port
            if request.has_header("Authorization"):
                new.add_unredirected_header("Authorization", request.get_header("Authorization"))
            old, name = (part.path.partition("/resolve/")[0][1:] for part in (here, there))
            if old != name and "/resolve/" in there.path:
                say_once(f"{old} is called {name} by now, and fetched from there")
        return new


@contextlib.contextmanager
def locked(path):
    """The open file `path`, made if need be, once no other process has it."""
    while True:
        file = open(path, "ab", buffering=0)  # what is written is in the file
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"waiting for another process that fetches {path.stem}", file=sys.stderr)
            fcntl.flock(file, fcntl.LOCK_EX)
        # Whoever had it may have renamed or removed it: then this is not the file of that name.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                break
        file.close()
    with file:
        yield file


def receive(url, file, whole, token=""):
    """Add what is missing of `url` to the open file. `whole`: its checksum is known.

    Goes on where the file ends, if the server can and what it has is surely still the
    same: it names its version (ETag), or there is a checksum to see it by.
    Returns (size, checksum) as the hub tells them, None for what it does not.
    """
    tag = Path(f"{file.name}.etag")
    have, known = file.tell(), tag.read_text() if tag.exists() else None
    if have and not (known or whole):
        have = 0
    headers = {"User-Agent": AGENT} | ({"Range": f"bytes={have}-"} if have else {})
    if have and known:
        headers["If-Range"] = known
    request, hops = urllib.request.Request(url, headers=headers), Redirections()
    if token:
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    with urllib.request.build_opener(hops).open(request, timeout=TIMEOUT) as response:
        hops.note(response.headers)
        length = response.headers.get("Content-Length")
        total = int(length) if length and length.isdigit() else None
        if response.status == 206:
            given, version = (response.headers.get(name) for name in ("Content-Range", "ETag"))
            first, _, total = content_range(given or "")
            if first != have or (None not in (known, version) and known != version):
                raise NotTheFile(f"{url}: asked to go on from byte {have} of version {known}, got "
                                 f"{given} of {version}")
        else:
            have = 0
        block = response.read(1 << 16)
        if not have and WEB_PAGE.match(block):  # what has arrived before is left as it is
            raise OSError(f"{url}: a web page came in place of the file, as from a network that "
                          "wants a login first, or from a proxy")
        if total is None and not (response.chunked or whole or hops.checksum):
            raise NotTheFile(f"{url}: the server does not say how long the file is")
        file.truncate(have)
        file.seek(have)  # which truncate leaves where it was
        # None, or one that promises too little.
        if response.headers.get("ETag", "W/").startswith("W/"):
            tag.unlink(missing_ok=True)
        else:
            tag.write_text(response.headers["ETag"])
        began = said = time.time()
        got = have
        while block:
            got += len(block)
            while block:
                block = block[file.write(block):]  # unbuffered, it may take a part
            block = response.read(1 << 16)
            if time.time() - said > (0.5 if sys.stderr.isatty() else 10):
                said = time.time()
                print_progress(url, got, total, (got - have) / (said - began))
    print_progress(url, got, total, (got - have) / max(time.time() - began, 1e-3), end="\n")
    if not got or total not in (None, got):
        raise OSError(f"{url}: {got} of {total} bytes arrived")
    return hops.size, hops.checksum


def content_range(text):
    """First byte, last byte, bytes in all.

    >>> content_range("bytes 100-299/300")
    (100, 299, 300)
    """
    found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", text)
    if not found:
        raise NotTheFile(f"the server answers a range with {text!r}")
    return tuple(map(int, found.groups()))


def print_progress(url, got, total, speed, end=None):
    share = f" of {total / 1e6:.1f} MB, {100 * got / total:.0f} %" if total else " MB"
    end = end or ("\r" if sys.stderr.isatty() else "\n")
    print(f"{url.rsplit('/', 1)[-1]}: {got / 1e6:.1f}{share}, {speed / 1e6:.1f} MB/s  ", end=end,
          file=sys.stderr, flush=True)


def verify(path, size, checksum):
    """Raise NotTheFile if a file has not this size and checksum (None: any).

    A checksum is a SHA-256, or the 40 digits by which git names a file.
    """
    if size is not None and path.stat().st_size != size:
        raise NotTheFile(f"{path} has {path.stat().st_size} bytes, wanted {size}")
    if checksum is not None:
        kind = "SHA-256" if len(checksum) == 64 else "git's SHA-1"
        digest = hashlib.sha256() if len(checksum) == 64 else hashlib.sha1(
            b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
        with open(path, "rb") as file:
            found = hashlib.file_digest(file, lambda: digest).hexdigest()
        if found != checksum:
            raise NotTheFile(f"{path} is not the published file: {kind} {found}, wanted {checksum}")


def asked_to_wait(error):
    """Seconds in the Retry-After of an answer, which has a number or a date; 0 without one.

    >>> asked_to_wait(urllib.error.HTTPError("", 503, "", {"Retry-After": "7"}, None))
    7
    """
    said = (getattr(error, "headers", None) or {}).get("Retry-After", "")
    if re.fullmatch("[0-9]+", said):
        return int(said[:9])
    try:
        return max(0, int(email.utils.parsedate_to_datetime(said).timestamp() - time.time()))
    except (ValueError, OverflowError):  # no date
        return 0


def told(error, token=""):
    """An error of a transfer in one line, with what to do; the token is not in it."""
    text = " ".join(str(error).split())
    if error.errno in LOCAL:
        text += "; --cache or PANDA_T5_CACHE give another folder"
    if asked_to_wait(error):
        text += f"; to be asked again in {asked_to_wait(error)} s"
    return text.replace(token, "…") if token else text


def fetch(url, path, size=None, sha256=None, token=""):
    """Download `url` to `path`, whole or not at all; does nothing if it is there.

    A broken transfer is tried again and goes on where it stopped, also in the next
    call: what has arrived waits in `path`.part. Processes that want the same file wait
    for each other. Raises OSError if it cannot be had, or is not what was asked for.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    with locked(part) as file:
        try:
            for attempt in range(TRIES):
                if path.exists():  # another process was faster
                    return
                resumed = file.tell() > 0
                try:
                    print(f"fetching {url}", file=sys.stderr)
                    said = receive(url, file, sha256 is not None, token)
                    verify(part, size or said[0], sha256 or said[1])
                    os.replace(part, path)
                    Path(f"{part}.etag").unlink(missing_ok=True)
                    return
                except (OSError, http.client.HTTPException) as error:
                    if not isinstance(error, OSError):
                        error = OSError(f"{url}: {error!r}")
                    if error.errno in LOCAL:
                        error.filename = error.filename or str(part)
                    code = getattr(error, "code", None)  # of an answer that is an HTTP error
                    useless = isinstance(error, NotTheFile) or code == 416
                    if useless:
                        file.truncate(0)
                        file.seek(0)
                    wait = max(PAUSE * 2 ** attempt, asked_to_wait(error))
                    refused = code and code < 500 and code not in (408, 416, 429)
                    # What was gone on from may be to blame; what came whole is what they have.
                    final = refused or (useless and not resumed) or error.errno in LOCAL
                    if final or wait > LONGEST or attempt + 1 == TRIES:
                        raise error from None
                    print(f"{told(error, token)}; trying again in {wait} s", file=sys.stderr)
                    time.sleep(wait)
        finally:
            with contextlib.suppress(FileNotFoundError):
                if not part.stat().st_size:
                    Path(f"{part}.etag").unlink(missing_ok=True)
                    part.unlink()


def archive_of(file):
    """The key in ARCHIVES of what a file comes from: itself, or its folder; None if not there."""
    return next((key for key in (file, file.rpartition("/")[0]) if key in ARCHIVES), None)


def obtain(file, root):
    """Fetch one file of the data folder, by itself or with its archive.

    Only the named members are taken out, to the names of the table: nothing that an
    archive says can lead out of the folder.
    """
    key = archive_of(file)
    url, size, sha256 = ARCHIVES[key]
    target = root / file
    path = target if key == file else root / "archives" / f"{key}.zip"
    try:
        fetch(url, path, size, sha256)
        if path != target:
            verify(path, size, sha256)  # it may have been put there by hand
            unpack(path, target)
    except OSError as error:
        raise ValueError(f"{url} could not be had ({told(error)}). By hand: put that file at "
                         f"{path}, or give a folder with {file} in it as --data FOLDER") from None


def unpack(path, target):
    """Take one member out of a zip: the one that is named as the target and its folder are."""
    with zipfile.ZipFile(path) as archive:
        member = "/".join(target.parts[-2:])
        if member not in archive.namelist():
            raise ValueError(f"{path} holds no {member}")
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f"{target.name}.{os.getpid()}.new")
        try:
            with archive.open(member) as source, open(partial, "wb") as copy:
                while block := source.read(1 << 20):
                    copy.write(block)
            os.replace(partial, target)
        finally:
            partial.unlink(missing_ok=True)


def located(name, files, folder=None, cache=None):
    """The paths of a task's files: inside `folder`, or in the cache, where they are fetched once.

    Raises ValueError that says which files are wanted and where they are obtained.
    """
    if folder and not Path(folder).is_dir():
        raise ValueError(f"the data folder {folder} is no folder")
    root = Path(folder) if folder else cache_folder(cache) / "data"
    for file in files:
        if not (root / file).exists():
            missing = (f"{root / file} is missing: {name} reads {files[0]} and {files[1]} inside "
                       "the data folder")
            if folder and archive_of(file):
                raise ValueError(f"{missing}; without --data they are fetched")
            if folder or not archive_of(file):
                by_hand = BY_HAND.get(file.split("/")[0], "")
                raise ValueError(missing + (by_hand and f"; {by_hand}")
                                 + ("" if folder else "; give that folder as --data FOLDER"))
            obtain(file, root)
    return [root / file for file in files]
