"""Which device and which type of numbers: as asked for, or as the machine has it."""

import dataclasses
import re
import time

import torch

from plumbing import ranks
from plumbing.files import write_json
from plumbing.intact import read_json
from plumbing.product import LEAST, product

GAIN = 1.3  # bf16 must be so many times as fast: it rounds to 3 digits, and that is a price
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def bf16_speed(D, ff, rounds=5):
    """How many times as fast as in fp32 this machine multiplies (512, D) by (D, F) in bf16.

    A tenth of a second: the fastest of some rounds of each, in turn, as a shared machine has slow
    ones. Processors differ: with instructions for bf16 it is about 2, without them a third.
    """
    x, w = torch.ones(512, D), torch.ones(ff, D)
    fastest = {}
    for _ in range(rounds):
        for dtype in (torch.float32, torch.bfloat16):
            pair = x.to(dtype), w.to(dtype)
            began = time.perf_counter()
            product(*pair)
            spent = time.perf_counter() - began
            fastest[dtype] = min(spent, fastest.get(dtype, spent))
    return fastest[torch.float32] / fastest[torch.bfloat16]


def default(config, dtype):
    """dtype, but fp32 for a T5 that is too small to be faster in another: the toy's, say."""
    return "fp32" if config.d_model < LEAST else dtype


def measured(config, where, dtype, out, why):
    """(dtype, why) for a T5 of these sizes: on a CPU as measured. dtype, why: what `choose` says.

    What was found is kept in a file in `out`, so that the same command goes on with it.
    """
    if where != "cpu" or default(config, "") == "fp32":
        return default(config, dtype), why
    D, ff, kept = config.d_model, config.d_ff, out / "dtype.json"
    name = f"{D} x {ff}"
    speeds = read_json(kept) if kept.exists() else {}
    if type(speeds.get(name)) is not float:
        speeds[name] = ranks.agreed(round(bf16_speed(D, ff), 2))
        write_json(kept, speeds)
    return ("bf16" if speeds[name] >= GAIN else "fp32",
            f"{why}; bf16 measured {speeds[name]} times as fast as fp32 at {name}, {kept}")


def fitting(gradients, shop, work, *rest):
    """(shop, gradients(shop, work, …)); where memory is too small, once with half the --tokens.

    Not with dropout or in fp16, where the cut into parts is a part of what decides a result.
    """
    while True:
        try:
            return shop, gradients(shop, work, *rest)
        except torch.OutOfMemoryError as error:
            full = f"{work.title}: no memory for --tokens {shop.tokens}"
            if shop.smaller or work.dropout or shop.dtype == "fp16":
                raise ValueError(f"{full}; give fewer, or --recompute "
                                 f"({str(error).splitlines()[0]})") from None
        work.optimizer.zero_grad()  # of the parts that had room
        shop.through.forget()
        torch.cuda.empty_cache()
        shop = dataclasses.replace(shop, tokens=max(1, shop.tokens // 2), smaller=True)
        print(f"{full}; this pass goes on with {shop.tokens}", flush=True)


def choose(device=None, dtype=None, tuning=False):
    """(device, dtype, why). Raises ValueError for what cannot be done here.

    tuning: whether all weights are to be trained, which has not been tried in fp16.
    """
    why = "asked for"
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        why = "found" if device == "cuda" else "no GPU found"
    elif not re.fullmatch(r"cpu|(cuda|mps|xpu)(:\d+)?", device):
        raise ValueError(f"unknown device {device!r}: cpu, cuda, cuda:1, …")
    elif device.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"--device {device}: this machine has no GPU that torch can use")
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"--device {device}: {str(error).splitlines()[0]}") from None
    if device.startswith("cuda:"):
        torch.cuda.set_device(device)  # what is recorded is of the current one
    if dtype is None:
        bf16 = device.startswith("cuda") and torch.cuda.is_bf16_supported(including_emulation=False)
        dtype = "bf16" if bf16 else "fp32"
    if dtype == "fp16" and not device.startswith("cuda"):
        raise ValueError("--dtype fp16 needs a GPU; on a CPU use fp32 or bf16")
    if dtype == "fp16" and tuning:
        raise ValueError("finetune needs --dtype bf16 or fp32: it has not been tried in fp16")
    return device, dtype, why
