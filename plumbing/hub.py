"""A T5 by its published name.

    checkpoint("t5-small")    the folder of a published T5
"""

import difflib
import json
import urllib.error
from pathlib import Path

from plumbing.download import cache_folder, fetch

HUB = "https://huggingface.co"
SHORT_NAMES = {f"t5-{size}" for size in ("small", "base", "large", "3b", "11b")}


def published(name):
    """Raise ValueError if this cannot be the name of a published T5; say which ones are near."""
    if name not in SHORT_NAMES and (name.count("/") != 1 or name.startswith((".", "/"))):
        near = difflib.get_close_matches(name, SHORT_NAMES, n=2)
        raise ValueError(f"{name!r} is neither a folder nor a model's name"
                         f"{'; did you mean ' + ' or '.join(near) if near else ''} "
                         f"(known: {', '.join(sorted(SHORT_NAMES))}, google/t5-base-lm-adapt, …)")


def checkpoint(name, hub=HUB, cache=None, weights=True):
    """The folder of a T5: a folder as it is, or a published name fetched once.

    Names: t5-small … t5-11b, or owner/repository as in google/t5-base-lm-adapt.
    weights=False: only its vocabulary is needed.
    Raises ValueError that says which files to put where if there is no network.
    """
    if Path(name).is_dir():
        return Path(name)
    published(name)
    folder = cache_folder(cache) / "models" / name
    forms = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")

    def get(file):
        if not (folder / file).exists():
            fetch(f"{hub}/{name}/resolve/main/{file}", folder / file)

    try:
        for file in ("config.json", "spiece.model") if weights else ("spiece.model",):
            get(file)
        if weights and not any((folder / file).exists() for file in forms):
            for file in forms:  # the first form that is published
                try:
                    get(file)
                    break
                except urllib.error.HTTPError as error:
                    if error.code != 404 or file == forms[-1]:
                        raise
        index = folder / "model.safetensors.index.json"
        if weights and index.exists():
            try:
                shards = sorted(set(json.loads(index.read_text())["weight_map"].values()))
            except (ValueError, KeyError, TypeError, AttributeError):
                raise ValueError(f"{index} is no index of weights; delete it and try "
                                 "again") from None
            for file in shards:
                if Path(file).name != file:
                    raise ValueError(f"{index} names {file!r}, which is no plain file name")
                get(file)
    except OSError as error:
        if not weights:
            raise ValueError(f"the vocabulary of {name} could not be fetched from {hub}/{name} "
                             f"({error}). By hand: give a folder with its spiece.model in it as "
                             "--model") from None
        raise ValueError(f"{name} could not be fetched from {hub}/{name} ({error}). By hand: put "
                         "its config.json, spiece.model and model.safetensors (or "
                         f"pytorch_model.bin) into {folder}, or give their folder as "
                         "--model") from None
    return folder
