"""Published T5 checkpoints as files: their names for tensors, their formats, what decides a model.

    config.json                          the sizes
    model.safetensors                    the weights; or the same in several files with an index,
    pytorch_model.bin                    or a pickle, of which nothing is executed

Knows tensors and names only; which tensors a T5 must have, model.py says.
"""

import contextlib
import dataclasses
import hashlib
import json
import pickle
import re
import zipfile
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from plumbing.states import write_whole

# Our names to those of the published files, in order, each on the result of the
# one before. The feed-forward is the encoder's layer 1 and the decoder's layer 2.
RENAMES = [
    (r"\.blocks\.", ".block."),
    (r"\.positions\.table\.", ".block.0.layer.0.SelfAttention.relative_attention_bias."),
    (r"\.self_norm\.", ".layer.0.layer_norm."),
    (r"\.self_attention\.", ".layer.0.SelfAttention."),
    (r"\.cross_norm\.", ".layer.1.layer_norm."),
    (r"\.cross_attention\.", ".layer.1.EncDecAttention."),
    (r"^(encoder.*)\.ff_norm\.", r"\1.layer.1.layer_norm."),
    (r"^(encoder.*)\.ff\.", r"\1.layer.1.DenseReluDense."),
    (r"^(decoder.*)\.ff_norm\.", r"\1.layer.2.layer_norm."),
    (r"^(decoder.*)\.ff\.", r"\1.layer.2.DenseReluDense."),
    (r"coder\.norm\.", "coder.final_layer_norm."),
]
# In some files the embedding stands again under two more names, and files of 2020 hold
# a table of positions for the cross-attention, which has none and never used it.
UNUSED = {"encoder.embed_tokens.weight", "decoder.embed_tokens.weight",
          "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"}


def published_name(name):
    """The name that a weight of ours has in the published checkpoints.

    >>> published_name("decoder.blocks.3.cross_attention.q.weight")
    'decoder.block.3.layer.1.EncDecAttention.q.weight'
    """
    for pattern, replacement in RENAMES:
        name = re.sub(pattern, replacement, name)
    return name


def published(t5):
    """All weights of a T5 under their published names."""
    return {published_name(name): weight for name, weight in t5.state_dict().items()}


LARGE = 10 ** 9  # bytes of weights whose fingerprint is worth keeping
# What a setting of each type may be: a larger number would take all memory before it fails.
WANTED = {
    int: (lambda value: type(value) is int and 0 < value < 10 ** 7, "a whole number from 1 to 10 "
          "million, of layers to 1,000"),
    float: (lambda value: type(value) in (int, float) and 0 < value < 1, "a number from 0 to 1"),
    bool: (lambda value: type(value) is bool, "true or false"),
    str: (lambda value: value in ("relu", "gated-gelu"), "'relu' or 'gated-gelu'")}


def read_config(folder, fields):
    """The settings of a folder's config.json that are among these dataclass fields.

    Those that are null are left out. transformers 5 writes "tied" into every config.json, and
    tells v1.1 by scale_decoder_outputs: that is mended here. Raises ValueError for a file that
    is missing, is not JSON, or lacks a setting without a default.
    """
    path = Path(folder) / "config.json"
    if not path.exists():
        there = ["no folder"]
        if path.parent.is_dir():
            there = sorted(p.name for p in path.parent.iterdir())
        raise ValueError(f"{folder} holds no config.json (found: {', '.join(there) or 'nothing'})")
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: not JSON: {error}") from None
    if not isinstance(raw, dict):
        raise ValueError(f"{path}: not a T5 configuration, wanted an object of settings")
    raw = {name: value for name, value in raw.items() if value is not None}
    if raw.get("scale_decoder_outputs") is False:
        raw["tie_word_embeddings"] = False
    if "num_layers" in raw:
        raw.setdefault("num_decoder_layers", raw["num_layers"])
    missing = [field.name for field in fields
               if field.default is dataclasses.MISSING and field.name not in raw]
    if missing:
        raise ValueError(f"{path}: not a T5 configuration, it lacks {', '.join(missing)}")
    for field in (field for field in fields if field.name in raw):
        value, (good, wanted) = raw[field.name], WANTED[field.type]
        if not good(value) or "layers" in field.name and value > 1000:
            raise ValueError(f"{path}: {field.name} is {value!r}; wanted {wanted}")
    return {field.name: raw[field.name] for field in fields if field.name in raw}


def weight_files(folder):
    """The safetensors files of a folder, or its pytorch_model.bin. Raises ValueError."""
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.exists():
        return [single]
    if index.exists():
        names = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
        files = [folder / name for name in sorted(set(names))]
        absent = [f.name for f in files if not f.exists()]
        if absent:
            raise ValueError(f"{index} names files that are not there: {', '.join(absent)}")
        return files
    if (folder / "pytorch_model.bin").exists():
        return [folder / "pytorch_model.bin"]
    found = ", ".join(sorted(p.name for p in folder.iterdir())) or "nothing"
    raise ValueError(f"{folder} holds no weights: wanted model.safetensors, "
                     f"model.safetensors.index.json or pytorch_model.bin; found {found}")


def read_tensors(folder):
    """All tensors of a checkpoint folder, name -> tensor, mapped from the file, not copied."""
    tensors = {}
    for file in weight_files(Path(folder)):
        try:
            if file.suffix == ".bin":  # only the format since torch 1.6, a zip file, can be mapped
                return torch.load(file, map_location="cpu", weights_only=True,
                                  mmap=zipfile.is_zipfile(file))
            with safe_open(file, framework="pt") as opened:
                tensors.update((name, opened.get_tensor(name)) for name in opened.keys())
        except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, SafetensorError) as error:
            raise ValueError(f"{file} cannot be read, is the download complete? {error}") from None
    return tensors


def fitting(folder, tensors, shapes, tied):
    """The tensors, by published name, that a model of these shapes (name -> shape) needs.

    Raises ValueError that names every tensor that is missing, unexpected or of another shape.
    """
    found = set(tensors) - UNUSED
    if tied and "lm_head.weight" in found:
        if not torch.equal(tensors["lm_head.weight"], tensors["shared.weight"]):
            raise ValueError(f"{folder}: config.json ties the output layer to the embedding, but "
                             "lm_head.weight and shared.weight differ")
        found.remove("lm_head.weight")
    problems = [
        ("missing", [name for name in shapes if name not in found]),
        ("unexpected", sorted(found - set(shapes))),
        ("mismatched", [f"{name} is {tuple(tensors[name].shape)}, config.json says {shape}"
                        for name, shape in shapes.items() if name in found
                        and tuple(tensors[name].shape) != shape]),
    ]
    if any(names for _, names in problems):
        raise ValueError(f"{folder}: the weights do not fit config.json. " + " ".join(
            f"{kind}: {'; '.join(names)}." for kind, names in problems if names))
    return {name: tensors[name] for name in shapes}


def fingerprint(config, tensors, folder=None):
    """A short name for a T5: equal for equal settings and weights, whatever file they come from.

    Every setting that computes, and every number as it is stored, decide it. A gigabyte takes about
    a second, so that of files of more than one is kept beside them, in fingerprint.json, with their
    names, sizes and times; a folder that cannot be written to is read anew each time.
    """
    kept, files = None, {}
    if folder and sum(file.stat().st_size for file in weight_files(Path(folder))) > LARGE:
        kept = Path(folder) / "fingerprint.json"
        files = {file.name: [file.stat().st_size, file.stat().st_mtime_ns] for file in
                 [*weight_files(Path(folder)), Path(folder) / "config.json"]}
        with contextlib.suppress(OSError, ValueError):
            said = json.loads(kept.read_text(encoding="utf-8"))
            if said.get("files") == files:
                return said["fingerprint"]
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode())
    for name in sorted(set(tensors) - UNUSED):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy())
    if kept:
        with contextlib.suppress(OSError):
            write_whole(kept, lambda path: path.write_text(json.dumps(
                {"files": files, "fingerprint": digest.hexdigest()[:16]})))
    return digest.hexdigest()[:16]


def draw(t5, seed):
    """Give a T5 random weights on the scales of the T5 paper's own code, and their fingerprint."""
    config, generator = t5.config, torch.Generator().manual_seed(seed)
    D, inner = config.d_model, config.num_heads * config.d_kv
    deviation = dict.fromkeys(("k", "v", "wi", "wi_0", "wi_1", "table"), D ** -0.5) | {
        "shared": 1.0, "lm_head": 1.0, "q": (D * config.d_kv) ** -0.5, "o": inner ** -0.5,
        "wo": config.d_ff ** -0.5}
    for name, weight in t5.named_parameters():
        if weight.dim() == 2:  # the norms stay at 1
            weight.data.normal_(0, deviation[name.split(".")[-2]], generator=generator)
    t5.fingerprint = fingerprint(dataclasses.asdict(config), published(t5))
    return t5


def write(folder, config, tensors):
    """Write config.json and model.safetensors as the reference implementation reads them."""
    config |= {"model_type": "t5", "architectures": ["T5ForConditionalGeneration"],
               "is_encoder_decoder": True, "dropout_rate": 0.1}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    folder = Path(folder)
    write_whole(folder / "config.json", lambda path: path.write_text(
        json.dumps(config, indent=2) + "\n", encoding="utf-8"))
    write_whole(folder / "model.safetensors", lambda path: save_file(
        tensors, path, metadata={"format": "pt"}))
