"""A prompt on disk: a folder as the PEFT library writes and reads it, or an array from elsewhere.

    adapter_model.safetensors    "prompt_embeddings", (P, D)
    adapter_config.json          what PEFT wants to know
    prompt.json                  ours: what made it, and what it scored

Dimensions: P prompt length, D model.
"""

import contextlib
import json
import os
from pathlib import Path

import numpy
import torch
from safetensors.torch import save_file

from plumbing.intact import (check, fault, finite, one_of, read_json, read_made_by, read_numbers)
from plumbing.files import whole_folder
from plumbing.states import checksum, digest_of, signed


def save(folder, prompt, made_by, model_name="", config=None):
    """Write one prompt (P, D) as the PEFT library would, with what made it beside it.

    made_by: JSON-able: task, recipe, score, and "fingerprint", the model's and the
    tokenizer's. The folder appears whole or not at all.
    """
    P, D = prompt.shape
    # One "submodule": the prompt stands before the encoder's input only.
    adapter = {"peft_type": "PROMPT_TUNING", "task_type": "SEQ_2_SEQ_LM",
               "base_model_name_or_path": str(model_name), "inference_mode": True,
               "num_virtual_tokens": P, "token_dim": D, "num_transformer_submodules": 1,
               "num_layers": getattr(config, "num_layers", None),
               "num_attention_heads": getattr(config, "num_heads", None),
               "prompt_tuning_init": "RANDOM"}
    with whole_folder(folder) as new:
        save_file({"prompt_embeddings": prompt.detach().float().cpu().contiguous()},
                  new / "adapter_model.safetensors")
        (new / "adapter_config.json").write_text(json.dumps(adapter, indent=2) + "\n")
        (new / "prompt.json").write_text(json.dumps(
            signed(made_by | {"vectors": digest_of(prompt.float())}), indent=2) + "\n")


def load(folder, fingerprint=None):
    """Read what `save` wrote: (prompt (P, D), made_by).

    With a fingerprint, refuses a prompt that was trained on another model or
    tokenizer: its numbers mean nothing there. Raises ValueError. A folder that another
    process replaced in the meantime is read again.
    """
    while True:
        before = standing(folder)
        try:
            return load_once(Path(folder), fingerprint)
        except ValueError:
            if standing(folder) == before:
                raise


def standing(folder):
    """What tells a folder from another that took its name, or None."""
    with contextlib.suppress(OSError, ValueError):
        stat = os.stat(folder)
        return stat.st_ino, stat.st_ctime_ns


def load_once(folder, fingerprint):
    weights, told = folder / "adapter_model.safetensors", folder / "prompt.json"
    for file in (weights, told):
        if not os.path.lexists(file):
            lacks = f"it lacks {file.name}" if os.path.isdir(folder) else "there is no such folder"
            near = [path.parent.name for path in folder.parent.glob(f"{folder.name}*/{told.name}")]
            also = f"; there is {', '.join(sorted(near)[:3])}" if near else ""
            text = "; a text is given by --text" if " " in folder.name else ""
            raise ValueError(f"{folder} is not a prompt of ours: {lacks}{also}{text}")
    prompt, made_by = of_peft(weights), read_made_by(
        told, "vectors", "task", *["fingerprint"] * (fingerprint is not None))
    if made_by["vectors"] not in (digest_of(prompt), checksum(prompt)):  # the latter until 2026-11
        raise ValueError(f"{folder} is damaged: its vectors are not those that were written")
    if fingerprint is not None and made_by["fingerprint"] != fingerprint:
        raise ValueError(f"{folder} was trained on model and tokenizer {made_by['fingerprint']}, "
                         f"these are {fingerprint}: it needs the T5 that it was trained on")
    return prompt, made_by


def of_peft(file):
    """The prompt (P, D) in a file of PEFT's. Raises ValueError."""
    found = read_numbers(file)
    if not isinstance(found, dict) or "prompt_embeddings" not in found:
        there = ", ".join(map(repr, found)) if isinstance(found, dict) else type(found).__name__
        raise ValueError(f"{file} holds no prompt_embeddings, but {there or 'nothing'}")
    return vectors(file, found["prompt_embeddings"])


def vectors(path, prompt, shape=None):
    """An array from a file as a prompt (P, D) in fp32, or a ValueError that says what it is.

    shape: the (P, D) that is wanted.
    """
    if isinstance(prompt, numpy.ndarray):
        if prompt.dtype.kind != "f" or prompt.dtype.itemsize > 8:
            raise ValueError(f"{path} holds an array of {prompt.dtype}, wanted floating point")
        prompt = torch.from_numpy(prompt.astype(prompt.dtype.newbyteorder("=")))
    if not isinstance(prompt, torch.Tensor):
        raise ValueError(f"{path} holds no single array")
    wanted = "(P, D)" if shape is None else f"{tuple(shape)}, length and width"
    if prompt.dim() != 2 or (shape is not None and tuple(prompt.shape) != tuple(shape)):
        raise ValueError(f"{path} holds an array of shape {tuple(prompt.shape)}, wanted {wanted}")
    if why := fault(prompt):
        raise ValueError(f"{path} holds an array that is {why}")
    if not prompt.numel() or not finite(prompt):
        raise ValueError(f"{path} holds no vectors, or numbers that are not finite")
    return prompt.detach().float().clone()  # the file may change


def load_peft(folder):
    """The prompt (P, D) of a folder written by the PEFT library. Raises ValueError.

    PEFT's own default for an encoder-decoder (num_transformer_submodules 2) puts half of
    the vectors before the decoder's input: that is another method, and is refused.
    """
    config, said = Path(folder) / "adapter_config.json", {}
    if os.path.lexists(config):
        said = {name: value for name, value in read_json(config).items() if value is not None}
    if said.get("num_transformer_submodules", 1) != 1:
        raise ValueError(f"{folder} has vectors before the decoder's input as well "
                         f"(num_transformer_submodules {said['num_transformer_submodules']!r:.9}), "
                         "wanted 1")
    check(config, "peft_type", said.get("peft_type", "PROMPT_TUNING"),
          one_of("PROMPT_TUNING", "P_TUNING"))
    files = [file for file in (Path(folder) / "adapter_model.safetensors",
                               Path(folder) / "adapter_model.bin") if os.path.lexists(file)]
    if not files:
        raise ValueError(f"{folder} is no prompt: it lacks adapter_model.safetensors")
    prompt = of_peft(files[0])
    for name, size in zip(("num_virtual_tokens", "token_dim"), prompt.shape):
        check(config, name, said.get(name, size), one_of(size))
    return prompt


def from_file(path, fingerprint=None, shape=None):
    """A prompt (P, D) to start from: a folder of ours or of PEFT, a .npy or a .pt array.

    A folder of ours is refused by another model (`fingerprint`); of the others nobody
    can tell what they were trained on. shape: the (P, D) that is wanted. Raises ValueError.
    """
    path = Path(path)
    if not os.path.exists(path):
        raise ValueError(f"{path}: there is no such file or folder")
    if path.is_dir():
        ours = os.path.lexists(path / "prompt.json")
        prompt = load(path, fingerprint)[0] if ours else load_peft(path)
    elif path.suffix in (".npy", ".pt", ".pth"):
        prompt = read_numbers(path)
    else:
        raise ValueError(f"{path} is no prompt: wanted a folder, a .npy or a .pt file")
    if isinstance(prompt, dict) and len(prompt) == 1:  # {"prompt_embeddings": array}, say
        [prompt] = prompt.values()
    return vectors(path, prompt, shape)
