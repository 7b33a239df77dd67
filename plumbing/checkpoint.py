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
import os
import re
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from plumbing.files import write_whole
from plumbing.intact import (OBJECT, check, fault, finite, one_of, read_json, read_made_by,
                             read_numbers, reading, whole)
from plumbing.tokenizer import EOS, PAD

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
FEW = 2 ** 24  # bytes of tensors that are read by one mapping, which stay in memory as long
# What a setting may be, by name or else by type: a larger number takes all memory before it fails.
WANTED = {
    int: whole(1, 10 ** 6), "num_layers": whole(1, 256), "num_decoder_layers": whole(1, 256),
    "relative_attention_num_buckets": whole(4, 10 ** 6),  # two ways, half of them exact
    float: (lambda value: type(value) in (int, float) and 0 < value < 1, "a number from 0 to 1"),
    bool: one_of(True, False), str: one_of("relu", "gated-gelu")}
# What else a T5's config.json may tell that decides what it computes.
FIXED = {"model_type": one_of("t5"), "decoder_start_token_id": one_of(PAD), "pad_token_id":
         one_of(PAD), "eos_token_id": one_of(EOS), "scale_decoder_outputs": one_of(True, False)}
BESIDE = (lambda name: isinstance(name, str) and re.fullmatch(r"[\w.-]+\.safetensors", name),
          "the name of a safetensors file beside it")


def listed(folder):
    """What a folder holds, for a refusal."""
    try:
        return ", ".join(sorted(os.listdir(folder))) or "nothing"
    except FileNotFoundError:
        return "no folder"
    except OSError as error:
        return error.strerror


def read_config(folder, fields):
    """The settings that a folder's config.json has for these dataclass fields, or their defaults.

    What is null is not told. transformers 5 writes "tied" into every config.json, and
    tells v1.1 by scale_decoder_outputs: that is mended here. Raises ValueError for a file that
    is missing, is not JSON, lacks a setting without a default, or has one that no T5 has.
    """
    path = Path(folder) / "config.json"
    if not os.path.lexists(path):
        raise ValueError(f"{folder} holds no config.json (found: {listed(folder)})")
    raw = {name: value for name, value in read_json(path).items() if value is not None}
    for name in (name for name in FIXED if name in raw):
        check(path, name, raw[name], FIXED[name])
    if raw.get("scale_decoder_outputs") is False:
        raw["tie_word_embeddings"] = False
    if "num_layers" in raw:
        raw.setdefault("num_decoder_layers", raw["num_layers"])
    found = {field.name: raw.get(field.name, field.default) for field in fields}
    missing = [name for name, value in found.items() if value is dataclasses.MISSING]
    if missing:
        raise ValueError(f"{path}: not a T5 configuration, it lacks {', '.join(missing)}")
    for field in fields:
        check(path, field.name, found[field.name], WANTED.get(field.name) or WANTED[field.type])
    near = found["relative_attention_num_buckets"] // 2  # a bucket for each distance below
    check(path, "relative_attention_max_distance", found["relative_attention_max_distance"],
          whole(near + 1, 10 ** 6))
    return found


def weight_files(folder):
    """The safetensors files of a folder, or its pytorch_model.bin. Raises ValueError."""
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if os.path.lexists(single):
        return [single]
    if os.path.lexists(index):
        named = read_json(index).get("weight_map")
        check(index, "weight_map", named, OBJECT)
        for tensor, name in named.items():
            check(index, f"weight_map of {tensor!r:.80}", name, BESIDE)
        files = [folder / name for name in sorted(set(named.values()))]
        absent = [f.name for f in files if not f.exists()]
        if absent:
            raise ValueError(f"{index} names files that are not there: {', '.join(absent)}")
        return files
    if os.path.lexists(folder / "pytorch_model.bin"):
        return [folder / "pytorch_model.bin"]
    raise ValueError(f"{folder} holds no weights: wanted model.safetensors, "
                     f"model.safetensors.index.json or pytorch_model.bin; found {listed(folder)}")


class Tensors(dict):
    """name -> tensor, mapped from its file, not copied; where: name -> (file, its state_of)."""

    def __init__(self, tensors=(), where=()):
        super().__init__(tensors)
        self.where = dict(where)


def state_of(file):
    """What changes when a file is replaced or written to."""
    told = file.stat()
    return told.st_ino, told.st_size, told.st_mtime_ns


def read_tensors(folder):
    """All Tensors of a checkpoint folder."""
    tensors = Tensors()
    for file in weight_files(Path(folder)):
        with reading(file):
            state = state_of(file)
        found = read_numbers(file)
        if not isinstance(found, dict) or not all(
                isinstance(name, str) and isinstance(tensor, torch.Tensor)
                for name, tensor in found.items()):
            raise ValueError(f"{file} holds no tensors by name, or something beside them")
        if twice := sorted(tensors.keys() & found.keys()):
            raise ValueError(f"{file} holds {twice[0]!r}, which stands in another file as well")
        tensors.update(found)
        if file.suffix == ".safetensors":
            tensors.where.update(dict.fromkeys(found, (file, state)))
    return tensors


def again(tensors, names):
    """(name, tensor) of some Tensors, mapped again, a few at a time: those let go leave memory.

    Raises ValueError if their file is not the one any more that the others are mapped from.
    """
    file, left = None, 0  # of a mapping, and the bytes to be read by it
    for name in names:
        where, state = getattr(tensors, "where", {}).get(name, (None, None))
        if where is None:  # not from a safetensors file
            yield name, tensors[name]
            continue
        with reading(where, "cannot be read:"):
            if where != file or left < 0:
                file, opened, left = where, safe_open(where, framework="pt"), FEW
            if state_of(where) != state:
                raise ValueError("it was written to while it was read")
            tensor = opened.get_tensor(name)
        left -= tensor.nbytes
        yield name, tensor


def placed(tensors, dtypes, device):
    """The Tensors in these types (name -> dtype) on a device; what is so already stays mapped."""
    here = torch.device(device).type == "cpu"
    other = [name for name, dtype in dtypes.items()
             if not (here and tensors[name].dtype == dtype)]
    return {name: tensors[name] for name in dtypes} | {
        name: tensor.to(device, dtypes[name]) for name, tensor in again(tensors, other)}


def fitting(folder, tensors, shapes, tied):
    """The tensors, by published name, that a model of these shapes (name -> shape) needs.

    Raises ValueError that names every tensor that is missing, unexpected or of another shape.
    """
    found, wanted = set(tensors) - UNUSED, dict(shapes)
    copied = tied and "lm_head.weight" in found
    if copied:
        wanted["lm_head.weight"] = shapes["shared.weight"]
    there = [name for name in wanted if name in found]
    problems = [
        ("missing", [name for name in wanted if name not in found]),
        ("unexpected", [repr(name)[1:-1] for name in sorted(found - set(wanted))]),
        ("mismatched", [f"{name} is {tuple(tensors[name].shape)}, config.json says {wanted[name]}"
                        for name in there if tuple(tensors[name].shape) != wanted[name]]),
        ("no weights", [f"{name} is {why}" for name in there if (why := fault(tensors[name]))]),
    ]
    if any(names for _, names in problems):
        raise ValueError(f"{folder}: the weights do not fit config.json. " + " ".join(
            f"{kind}: {'; '.join(names)}." for kind, names in problems if names))
    if copied and not torch.equal(tensors["lm_head.weight"], tensors["shared.weight"]):
        raise ValueError(f"{folder}: config.json ties the output layer to the embedding, but "
                         "lm_head.weight and shared.weight differ")
    return Tensors({name: tensors[name] for name in shapes}, tensors.where)


def fingerprint(config, tensors, folder=None):
    """A short name for a T5: equal for equal settings and weights, whatever file they come from.

    Every setting that computes, and every number as it is stored, decide it. A gigabyte takes about
    a second, so that of files of more than one is kept beside them, in fingerprint.json, with their
    names, sizes and times; a folder that cannot be written to is read anew each time.
    Raises ValueError for a number that is not finite, and for a tuned T5 (tuned.json stands
    beside it, and its score) that is not the one that was written.
    """
    kept, files, name = None, {}, None
    if folder and sum(file.stat().st_size for file in weight_files(Path(folder))) > LARGE:
        kept = Path(folder) / "fingerprint.json"
        files = {file.name: [file.stat().st_size, file.stat().st_mtime_ns] for file in
                 [*weight_files(Path(folder)), Path(folder) / "config.json"]}
        with contextlib.suppress(ValueError):
            said = read_json(kept)
            if said.get("files") == files and isinstance(said.get("fingerprint"), str):
                name = said["fingerprint"]
    if name is None:
        name = digest_of(config, tensors, folder)
        if kept:
            with contextlib.suppress(ValueError):  # it cannot be written to
                write_whole(kept, lambda path: path.write_text(json.dumps(
                    {"files": files, "fingerprint": name})))
    tuned = Path(folder or "") / "tuned.json"
    if folder and os.path.lexists(tuned):
        check(tuned, "weights", read_made_by(tuned, "task", "result", "weights")["weights"],
              (lambda told: told == name, f"{name!r}, the fingerprint of those beside it"))
    return name


def digest_of(config, tensors, folder):
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode())
    for name, tensor in again(tensors, sorted(set(tensors) - UNUSED)):
        tensor = tensor.detach().cpu().contiguous()
        if not finite(tensor):
            raise ValueError(f"{folder}: {name} holds numbers that are not finite")
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy())
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
    """Write config.json and model.safetensors as the reference implementation reads them.

    Returns the fingerprint of what was written.
    """
    told = {"decoder_start_token_id": PAD, "pad_token_id": PAD, "eos_token_id": EOS,
            "model_type": "t5", "architectures": ["T5ForConditionalGeneration"],
            "is_encoder_decoder": True, "dropout_rate": 0.1}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    folder = Path(folder)
    write_whole(folder / "config.json", lambda path: path.write_text(
        json.dumps(config | told, indent=2) + "\n", encoding="utf-8"))
    write_whole(folder / "model.safetensors", lambda path: save_file(
        tensors, path, metadata={"format": "pt"}))
    return fingerprint(config, tensors)
