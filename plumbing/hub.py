"""A T5 by its published name: from a folder, our cache, the hub library's cache, or the hub.

    checkpoint("t5-small")    the folder of a published T5

As the hub's own library does, this heeds HF_ENDPOINT, HF_TOKEN (or the file of a login,
HF_TOKEN_PATH) and HF_HOME and HF_HUB_CACHE, its folders, which are read and not written (but for a
fingerprint.json beside large weights, see checkpoint.py).
"""

import difflib
import json
import os
import re
import sys
import urllib.error
from pathlib import Path

from plumbing.download import cache_folder, fetch, told

HUB = "https://huggingface.co"
SHORT_NAMES = {f"t5-{size}" for size in ("small", "base", "large", "3b", "11b")}
FORMS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")

# The hub's X-Error-Code, or else the status of its answer -> what it means, and what to do.
ANSWERS = {
    "GatedRepo": "it is gated: ask for access on that page, then set HF_TOKEN to a token of yours",
    "RepoNotFound": "there is no such name, or it is private: mend the name, or set HF_TOKEN",
    "EntryNotFound": "it lacks a file: see on that page whether it is a T5",
    "token": "the token of {place} is not accepted: mend it or take it away",
    401: "there is no such name, or it wants a token: mend the name, or set HF_TOKEN",
    403: "access is not granted: ask for it on that page, and set HF_TOKEN to a token that has it",
    404: "there is no such name, or it lacks a file: see on that page",
    429: "too much was asked for from here: wait, or set HF_TOKEN",
}


def published(name):
    """Raise ValueError if this cannot be the name of a published T5; say which ones are near."""
    if name not in SHORT_NAMES and (name.count("/") != 1 or name.startswith((".", "/"))):
        near = difflib.get_close_matches(name, SHORT_NAMES, n=2)
        raise ValueError(f"{name!r} is neither a folder nor a model's name"
                         f"{'; did you mean ' + ' or '.join(near) if near else ''} "
                         f"(known: {', '.join(sorted(SHORT_NAMES))}, google/t5-base-lm-adapt, …)")


def library_home():
    """The folder of the hub's own library."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.environ.get("HF_HOME") or f"{cache}/huggingface").expanduser()


def login():
    """(where the token is, the token, "" without one). Raises ValueError, which shows no token."""
    place, token = "HF_TOKEN", os.environ.get("HF_TOKEN", "").strip()
    if not token:
        place = Path(os.environ.get("HF_TOKEN_PATH") or library_home() / "token").expanduser()
        token = place.read_text(errors="replace").strip() if os.access(place, os.R_OK) else ""
    if not re.fullmatch("[!-~]*", token):
        raise ValueError(f"the token of {place} has a blank, a line's end or a sign beyond ASCII "
                         "inside, which no token has: mend it or take it away")
    return place, token


def of_the_library(name):
    """The folders where the hub's own library has something of this T5, whole or not."""
    hub = Path(os.environ.get("HF_HUB_CACHE") or library_home() / "hub").expanduser()
    for known in [name] + [f"google-t5/{name}"] * (name in SHORT_NAMES):  # as they are called now
        folder = hub / f"models--{known.replace('/', '--')}"
        if os.access(folder / "refs/main", os.R_OK):
            commit = (folder / "refs/main").read_text(errors="replace").strip()
            yield folder / "snapshots" / commit


def weight_files(folder):
    """The names of the files of a folder's weights, [] if there are none. Raises ValueError."""
    form = next((form for form in FORMS if (folder / form).exists()), None)
    if form != FORMS[1]:
        return [form] if form else []
    index = folder / form
    try:
        shards = sorted(set(json.loads(index.read_text())["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(f"{index} is no index of weights; delete it and try again") from None
    for file in shards:
        if Path(file).name != file:
            raise ValueError(f"{index} names {file!r}, which is no plain file name")
    return shards


def complete(folder, weights):
    """Whether a folder has a T5's files, for us to read (weights=False: its vocabulary)."""
    files = ["spiece.model"]
    if weights:
        files += ["config.json", *(weight_files(folder) or FORMS[:1])]
    return all(os.access(folder / file, os.R_OK) for file in files)


def fetch_all(url, folder, weights, token):
    """Fetch what a folder lacks of a T5. Raises OSError."""

    def get(file):
        if not (folder / file).exists():
            fetch(f"{url}/{file}", folder / file, token=token)

    for file in ("config.json", "spiece.model") if weights else ("spiece.model",):
        get(file)
    if weights and not weight_files(folder):
        for form in FORMS:  # the first that is published
            try:
                get(form)
                break
            except urllib.error.HTTPError as error:
                if error.code != 404 or form == FORMS[-1]:
                    raise
    for file in weight_files(folder) if weights else ():
        get(file)


def meant(error, place, token):
    """An error in one line: what came, and what it means if it is an answer of the hub."""
    code, text = getattr(error, "code", None), told(error, token)
    key = error.headers.get("X-Error-Code") if code else None
    if key not in ANSWERS:
        key = "token" if token and code == 401 else code
    return f"{text}: {ANSWERS[key].format(place=place)}" if key in ANSWERS else text


def checkpoint(name, hub=None, cache=None, weights=True):
    """The folder of a T5: a folder as it is, or a published name fetched once.

    Names: t5-small … t5-11b, or owner/repository as in google/t5-base-lm-adapt.
    hub: its address (default: $HF_ENDPOINT, or HUB). weights=False: only its vocabulary is
    needed. What the hub's own library has whole is used from there.
    Raises ValueError that says which files to put where if there is no network.
    """
    if Path(name).is_dir():
        return Path(name)
    published(name)
    hub = (hub or os.environ.get("HF_ENDPOINT") or HUB).rstrip("/")
    if not re.fullmatch(r"https?://[^\s@/]+(/\S*)?", hub):
        raise ValueError(f"HF_ENDPOINT is {hub.rpartition('@')[2]!r}, wanted an address as {HUB}")
    folder, place, token = cache_folder(cache) / "models" / name, "", ""
    try:
        if complete(folder, weights):
            return folder
        for copy in of_the_library(name):
            if complete(copy, weights):
                print(f"{name}: read from the hub library's cache, {copy}", file=sys.stderr)
                return copy
        place, token = login()
        fetch_all(f"{hub}/{name}/resolve/main", folder, weights, token)
    except OSError as error:
        said = f"from {hub}/{name} ({meant(error, place, token)}). By hand: "
        if not weights:
            raise ValueError(f"the vocabulary of {name} could not be fetched {said}give a folder "
                             "with its spiece.model in it as --model") from None
        raise ValueError(f"{name} could not be fetched {said}put its config.json, spiece.model and "
                         f"model.safetensors (or pytorch_model.bin) into {folder}, or give their "
                         "folder as --model") from None
    return folder
