"""Which device and which type of numbers: as asked for, or as the machine has it."""

import re

import torch

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


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
    if dtype is None:
        bf16 = device.startswith("cuda") and torch.cuda.is_bf16_supported(including_emulation=False)
        dtype = "bf16" if bf16 else "fp32"
    if dtype == "fp16" and not device.startswith("cuda"):
        raise ValueError("--dtype fp16 needs a GPU; on a CPU use fp32 or bf16")
    if dtype == "fp16" and tuning:
        raise ValueError("finetune needs --dtype bf16 or fp32: it has not been tried in fp16")
    return device, dtype, why
