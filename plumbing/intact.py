"""Files that others wrote, or damaged, are read as what they should be or refused in one line.

    reading       whatever goes wrong in reading a file: a ValueError that names it
    read_json     the object in a JSON file
    read_numbers  tensors, arrays: .safetensors, .npy, or a pickle, of which nothing is executed
    fault         what keeps a tensor from being weights
    check         a setting against what it may be, told as data: (test, words)
"""

import contextlib
import json
import os
import pickle
import re
import reprlib
import struct
import tokenize
import warnings
import zipfile
from pathlib import Path

import numpy
import torch
from safetensors import SafetensorError, safe_open

from plumbing.states import signed

# What readers raise for damaged files; that of pickles, which executes none, is inventive.
DAMAGE = (OSError, RuntimeError, ValueError, EOFError, LookupError, AttributeError, TypeError,
          AssertionError, MemoryError, OverflowError, struct.error, tokenize.TokenError,
          pickle.UnpicklingError, SafetensorError)
# How torch begins: with the advice to execute what the file says.
ADVICE = re.compile(r"Weights only load failed.*(WeightsUnpickler error:|trusted source\.)", re.S)
FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


@contextlib.contextmanager
def reading(path, wrong="cannot be read, is the download complete?"):
    """What fails inside is a ValueError that names the file.

    A folder, a pipe (which would be waited for) and a link to nothing are no files.
    """
    if not os.path.isfile(path):
        raise ValueError(f"{path} is no file, or one that may not be read")
    try:
        yield
    except DAMAGE as error:
        said = (ADVICE.sub("", str(error)).strip() or type(error).__name__).splitlines()[0]
        wrong = "cannot be read:" if isinstance(error, OSError) else wrong
        raise ValueError(f"{path} {wrong} {said.partition('. ')[0]}") from None


def read_json(path):
    """The object in a JSON file. Raises ValueError."""
    with reading(path, "is not JSON:"):
        said = json.loads(Path(path).read_text(encoding="utf-8"))
    if not isinstance(said, dict):
        raise ValueError(f"{path} holds {reprlib.repr(said)}, wanted an object of settings")
    return said


def read_numbers(path):
    """What stands in a file of numbers, mapped from it, not copied. Raises ValueError."""
    with reading(path), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's, of what it then refuses
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as opened:
                return {name: opened.get_tensor(name) for name in opened.keys()}
        if path.suffix == ".npy":
            found = numpy.load(path, allow_pickle=False, mmap_mode="r")
            if isinstance(found, numpy.memmap) and (
                    found.offset + found.nbytes != os.path.getsize(path)):
                raise ValueError("it is longer than its header tells")
            return found
        # Only the format since torch 1.6, a zip file, can be mapped.
        return torch.load(path, map_location="cpu", weights_only=True,
                          mmap=zipfile.is_zipfile(path))


def fault(tensor):
    """What keeps a tensor from being weights; "" if nothing does. Reads none of its numbers."""
    if tensor.dtype not in FLOATS:
        return f"{tensor.dtype}, wanted {', '.join(str(one)[6:] for one in FLOATS)}"
    if tensor.layout != torch.strided or tensor.is_meta:
        return "sparse or without numbers"
    whole = tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()
    return "" if whole else "of more numbers than its file holds"


def finite(tensor):
    """Whether all numbers are, in fp32 too: one reading, and no copy."""
    return all(one.float().isfinite() for one in torch.aminmax(tensor))


# ------------------------------------------------------------------- what settings may be


def whole(least, most=2 ** 63):
    return (lambda value: type(value) is int and least <= value <= most,
            f"a whole number from {least}" + (f" to {most:,}" if most < 2 ** 63 else ""))


def number(least=-1e300, most=1e300):
    return (lambda value: type(value) in (int, float) and least <= value <= most,
            "a number" + (f" from {least} to {most}" if most < 1e300 else ""))


def one_of(*values):
    return (lambda value: type(value) is type(values[0]) and value in values,
            " or ".join(json.dumps(value) for value in values))


def rows(width, or_null=0):
    """Lists of so many numbers, of which the last may be null."""
    good, _ = number()
    return (lambda value: isinstance(value, list) and all(
        isinstance(row, list) and len(row) == width and all(
            good(n) or n is None and width - i <= or_null for i, n in enumerate(row))
        for row in value), f"a list of lists of {width} numbers")


TEXT = (lambda value: isinstance(value, str), "a text")
OBJECT = (lambda value: isinstance(value, dict), "an object")


def check(path, name, value, wanted):
    """Raise ValueError that names the file, the setting, its value and what is wanted."""
    good, words = wanted
    if not good(value):
        raise ValueError(f"{path}: {name} is {reprlib.repr(value)}; wanted {words}")


# What a training writes of its result, in prompt.json or tuned.json, where it is there at all.
MADE_BY = {
    "task": TEXT, "seed": whole(0), "score": number(-100, 100), "fingerprint": TEXT,
    "vectors": (TEXT[0], "the checksum of the vectors beside it"),
    "weights": (TEXT[0], "the fingerprint of the weights beside it"),
    "decided_by": OBJECT, "recipe": OBJECT, "recipe.max_input": whole(2),
    "recipe.max_dev": whole(0), "recipe.held_out": number(0, 1),
    "result": OBJECT, "result.score": number(-100, 100), "result.curve": rows(2),
    "result.seconds": number(), "result.trained": whole(0), "result.memory": whole(0),
    "result.terms": rows(4, or_null=1),
    "result.right": (lambda value: value is None or number()[0](value), "a number or null")}
# What is decided has a result, with all of these; of a student there are two more.
RESULT = ("result", *(f"result.{name}" for name in ("score", "curve", "seconds", "trained",
                                                    "memory")))


def read_made_by(path, *needed):
    """What made a result: an object as MADE_BY has it, and what is needed. Raises ValueError."""
    said = read_json(path)
    if "decided_by" in said or "result" in said:
        needed += RESULT
    for name, wanted in MADE_BY.items():
        of, _, field = name.rpartition(".")
        values = said.get(of, {}) if of else said
        if field in values:
            check(path, name, values[field], wanted)
        elif name in needed:
            raise ValueError(f"{path} lacks {name}; wanted {wanted[1]}")
    if "digest" in said and said != signed(said):
        raise ValueError(f"{path} is damaged: it does not tell what was written")
    for name in said.get("result", ()):
        if f"result.{name}" not in MADE_BY:
            raise ValueError(f"{path}: a result has no {reprlib.repr(name)}")
    return said
