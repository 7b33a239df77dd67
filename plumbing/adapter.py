"""A prompt on disk: a folder as the PEFT library writes and reads it, or an array from elsewhere.

    adapter_model.safetensors    "prompt_embeddings", (P, D)
    adapter_config.json          what PEFT wants to know
    prompt.json                  ours: what made it, and what it scored

Dimensions: P prompt length, D model.
"""

import json
from pathlib import Path

import numpy
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from plumbing.states import checksum, whole_folder


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
            made_by | {"vectors": checksum(prompt)}, indent=2) + "\n")


def load(folder, fingerprint=None):
    """Read what `save` wrote: (prompt (P, D), made_by).

    With a fingerprint, refuses a prompt that was trained on another model or
    tokenizer: its numbers mean nothing there. Raises ValueError.
    """
    folder = Path(folder)
    weights, made_by = folder / "adapter_model.safetensors", folder / "prompt.json"
    for file in (weights, made_by):
        if not file.exists():
            lacks = f"it lacks {file.name}" if folder.is_dir() else "there is no such folder"
            raise ValueError(f"{folder} is not a prompt of ours: {lacks}")
    try:
        prompt = load_file(weights)["prompt_embeddings"]
        made_by = json.loads(made_by.read_text(encoding="utf-8"))
        if made_by.get("vectors", checksum(prompt)) != checksum(prompt):
            raise ValueError("its vectors are not those that were written")
    except (SafetensorError, KeyError, AttributeError, ValueError, OSError) as error:
        raise ValueError(f"{folder} is damaged: {error}") from None
    if fingerprint is not None and made_by["fingerprint"] != fingerprint:
        raise ValueError(f"{folder} was trained on model and tokenizer {made_by['fingerprint']}, "
                         f"these are {fingerprint}")
    return prompt, made_by


def load_peft(folder):
    """The prompt (P, D) of a folder written by the PEFT library. Raises ValueError.

    PEFT's own default for an encoder-decoder (num_transformer_submodules 2) puts half of
    the vectors before the decoder's input: that is another method, and is refused.
    """
    folder = Path(folder)
    config = folder / "adapter_config.json"
    if config.exists():
        said = json.loads(config.read_text(encoding="utf-8"))
        submodules = said.get("num_transformer_submodules")
        if submodules not in (None, 1):
            raise ValueError(f"{folder} has vectors before the decoder's input as well "
                             f"(num_transformer_submodules {submodules}), wanted 1")
    files = [folder / name for name in ("adapter_model.safetensors", "adapter_model.bin")
             if (folder / name).exists()]
    if not files:
        raise ValueError(f"{folder} is no prompt: it lacks adapter_model.safetensors")
    tensors = (load_file(files[0]) if files[0].suffix == ".safetensors" else
               torch.load(files[0], map_location="cpu", weights_only=True))
    if "prompt_embeddings" not in tensors:
        raise ValueError(f"{files[0]} holds no prompt_embeddings, but {', '.join(sorted(tensors))}")
    return tensors["prompt_embeddings"]


def from_file(path, fingerprint=None, shape=None):
    """A prompt (P, D) to start from: a folder of ours or of PEFT, a .npy or a .pt array.

    A folder of ours is refused by another model (`fingerprint`); of the others nobody
    can tell what they were trained on. shape: the (P, D) that is wanted. Raises ValueError.
    """
    path = Path(path)
    if not path.exists():
        raise ValueError(f"{path}: there is no such file or folder")
    if path.is_dir():
        ours = (path / "prompt.json").exists()
        prompt = load(path, fingerprint)[0] if ours else load_peft(path)
    elif path.suffix == ".npy":
        try:
            prompt = numpy.load(path, allow_pickle=False)
        except ValueError:
            raise ValueError(f"{path} holds no array of numbers") from None
    elif path.suffix in (".pt", ".pth"):
        prompt = torch.load(path, map_location="cpu", weights_only=True)
    else:
        raise ValueError(f"{path} is no prompt: wanted a folder, a .npy or a .pt file")
    if isinstance(prompt, dict) and len(prompt) == 1:  # {"prompt_embeddings": array}, say
        [prompt] = prompt.values()
    if not isinstance(prompt, (numpy.ndarray, torch.Tensor)):
        raise ValueError(f"{path} holds no single array")
    prompt = torch.as_tensor(prompt).detach().float()
    wanted = "(P, D)" if shape is None else f"{tuple(shape)}, length and width"
    if prompt.dim() != 2 or (shape is not None and tuple(prompt.shape) != tuple(shape)):
        raise ValueError(f"{path} holds an array of shape {tuple(prompt.shape)}, wanted {wanted}")
    if not prompt.isfinite().all():
        raise ValueError(f"{path} holds numbers that are not finite")
    return prompt
