"""A prompt on disk: a folder in the layout of the PEFT library, or an array in a file.

    adapter_model.safetensors    "prompt_embeddings", (P, D), fp32
    adapter_config.json          what PEFT needs to know
    prompt.json                  ours: what made the prompt, and a checksum of its vectors

PEFT reads what `save` writes, and `load_peft` reads what PEFT writes.

Dimensions: P prompt length, D model.
"""

import hashlib
import os
from pathlib import Path

import numpy
import torch
from safetensors.torch import save_file

from plumbing.checkpoint import flaw, read_tensors, reading
from plumbing.files import read_json, whole_folder, write_json

WEIGHTS = ["adapter_model.safetensors", "adapter_model.bin"]  # PEFT writes either
PEFT_TYPES = ["PROMPT_TUNING", "P_TUNING"]  # both keep the vectors themselves


def checksum(tensor):
    """A short name for numbers: equal for equal ones in fp32, whatever their shape."""
    numbers = tensor.detach().float().cpu().contiguous().numpy()
    return hashlib.sha256(numbers.tobytes()).hexdigest()[:16]


def save(folder, prompt, made_by, model_name="", config=None):
    """Write a prompt (P, D), whole or not at all; a folder of that name is replaced.

    made_by      for prompt.json: JSON-able, with "task" and with "fingerprint", which names the
                 model and the tokenizer
    model_name   of the T5, for a reader and for PEFT
    config       of the T5, with its num_layers and num_heads
    """
    P, D = prompt.shape
    adapter = {
        "peft_type": "PROMPT_TUNING",
        "task_type": "SEQ_2_SEQ_LM",
        "base_model_name_or_path": str(model_name),
        "inference_mode": True,
        "num_virtual_tokens": P,
        "token_dim": D,
        "num_transformer_submodules": 1,  # the prompt is before the encoder's input only
        "num_layers": getattr(config, "num_layers", None),
        "num_attention_heads": getattr(config, "num_heads", None),
        "prompt_tuning_init": "RANDOM",
    }
    vectors = prompt.detach().float().cpu().contiguous()
    with whole_folder(folder) as new:
        save_file({"prompt_embeddings": vectors}, new / WEIGHTS[0])
        write_json(new / "adapter_config.json", adapter)
        write_json(new / "prompt.json", made_by | {"vectors": checksum(vectors)})


def load(folder, fingerprint=None):
    """Read what `save` wrote: (prompt (P, D), made_by).

    With a fingerprint, a prompt of another model or tokenizer is refused: its vectors mean
    nothing there. Raises ValueError.
    """
    folder = Path(os.path.expanduser(folder))
    if not os.path.lexists(folder / "prompt.json"):
        raise ValueError(f"{folder} is not a prompt of ours: {missing(folder, 'prompt.json')}")
    made_by = read_json(folder / "prompt.json")
    prompt = load_peft(folder)
    if made_by.get("vectors") != checksum(prompt):
        raise ValueError(f"{folder} is damaged: its vectors are not those that prompt.json names; "
                         "delete it, and train this prompt again")
    trained_on = made_by.get("fingerprint")
    if fingerprint is not None and trained_on != fingerprint:
        model = read_json(folder / "adapter_config.json").get("base_model_name_or_path")
        raise ValueError(f"{folder} was trained on {model!r}, model and tokenizer {trained_on}; "
                         f"this T5 is {fingerprint}: use the one that it was trained on")
    return prompt, made_by


def missing(folder, name):
    """Why a folder that lacks this file is no prompt, and what to do."""
    if (folder / "config.json").exists():
        return f"it is a whole T5; use it by --model {folder}"
    return f"it lacks {name}"


def load_peft(folder):
    """The prompt (P, D) of a folder that the PEFT library wrote. Raises ValueError.

    PEFT's own default for an encoder-decoder (num_transformer_submodules 2) puts half of the
    vectors before the decoder's input: that is another method, and is refused.
    """
    folder = Path(folder)
    paths = [folder / name for name in WEIGHTS if os.path.lexists(folder / name)]
    if not paths:
        raise ValueError(f"{folder} is no prompt: {missing(folder, WEIGHTS[0])}")
    content = read_tensors(paths[0])
    if not isinstance(content, dict) or "prompt_embeddings" not in content:
        raise ValueError(f"{paths[0]} holds no prompt_embeddings")
    prompt = as_prompt(paths[0], content["prompt_embeddings"])
    P, D = prompt.shape
    config = folder / "adapter_config.json"
    settings = read_json(config)
    wanted = {"peft_type": PEFT_TYPES, "num_transformer_submodules": [1, None],
              "num_virtual_tokens": [P], "token_dim": [D]}
    for name, choices in wanted.items():
        if settings.get(name) not in choices:
            raise ValueError(f"{config}: {name} is {settings.get(name)!r:.80}; "
                             f"wanted {' or '.join(map(str, choices))}")
    return prompt


def from_file(path, fingerprint=None, shape=None):
    """A prompt (P, D) to start from: a folder of ours or of PEFT's, a .npy or a .pt file.

    fingerprint   of model and tokenizer: a folder of ours from others is refused; what the
                  other kinds were trained on is not known
    shape         the (P, D) that is wanted

    Raises ValueError.
    """
    path = Path(os.path.expanduser(path))
    if not os.path.exists(path):
        raise ValueError(f"{path}: there is no such file or folder")
    if os.path.isdir(path):
        if os.path.lexists(path / "prompt.json"):
            prompt, _ = load(path, fingerprint)
        else:
            prompt = load_peft(path)
    elif path.suffix == ".npy":
        with reading(path), open(path, "rb") as file:  # numpy.load would take a pickle for an array
            prompt = torch.from_numpy(numpy.lib.format.read_array(file, allow_pickle=False))
    elif path.suffix in (".pt", ".pth"):
        prompt = read_tensors(path)
        if isinstance(prompt, dict) and len(prompt) == 1:  # {"prompt_embeddings": array}, say
            [prompt] = prompt.values()
    else:
        raise ValueError(f"{path} is no prompt: wanted a folder, a .npy or a .pt file")
    return as_prompt(path, prompt, shape)


def as_prompt(path, prompt, shape=None):
    """A tensor from a file as a prompt (P, D) in fp32, or a ValueError that says what it is."""
    if not isinstance(prompt, torch.Tensor):
        raise ValueError(f"{path} holds no single array")
    size = tuple(prompt.shape)
    if len(size) != 2 or not prompt.numel():
        raise ValueError(f"{path} holds an array of shape {size}, wanted (length, width)")
    problem = flaw(prompt, shape or size)
    if problem:
        raise ValueError(f"{path}: its array (length, width) {problem}")
    return prompt.detach().float()
