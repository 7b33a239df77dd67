"""A published T5 on disk: its configuration, its weights, and a fingerprint of both.

    config.json          the sizes, see read_config
    model.safetensors    the weights, see read_weights; or a pickle, pytorch_model.bin, of which
                         nothing is executed; or either kind in shards with an index

Which weights a T5 needs, model.py knows; here are only names, shapes and files.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import pickle
import re
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from plumbing.files import read_json, write_json, write_whole
from plumbing.tokenizer import EOS, PAD

# ------------------------------------------------------------------------- names

# Our names -> those of the published files. The patterns apply in this order, each to the
# result of the one before. The feed-forward is the encoder's layer 1 and the decoder's layer 2.
RENAMES = [
    (r"\.blocks\.", ".block."),
    (r"\.position_bias\.table\.", ".block.0.layer.0.SelfAttention.relative_attention_bias."),
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
# The embedding stands in a file under one or more of these names, and a tied output layer
# under "lm_head.weight" as well.
EMBEDDING = "shared.weight"
COPIES = [EMBEDDING, "encoder.embed_tokens.weight", "decoder.embed_tokens.weight"]
OUTPUT = "lm_head.weight"
# Files of 2020 hold a table of positions for the cross-attention, which T5 never uses.
LEFTOVER = "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"


def published_name(name):
    """The name that a weight of ours has in the published checkpoints.

    >>> published_name("decoder.blocks.3.cross_attention.q.weight")
    'decoder.block.3.layer.1.EncDecAttention.q.weight'
    """
    for pattern, replacement in RENAMES:
        name = re.sub(pattern, replacement, name)
    return name


# ----------------------------------------------------------------- configuration

# Settings -> the values that a T5 of ours may have. A larger size would take all memory before
# it fails.
SIZES = range(1, 10 ** 6 + 1)
DEPTHS = range(1, 257)
CHOICES = {
    "vocab_size": SIZES,
    "d_model": SIZES,
    "d_kv": SIZES,
    "d_ff": SIZES,
    "num_heads": SIZES,
    "num_layers": DEPTHS,
    "num_decoder_layers": DEPTHS,
    "relative_attention_num_buckets": SIZES[3:],
    "feed_forward_proj": ["relu", "gated-gelu"],
    "tie_word_embeddings": [True, False],
    # Of these, what is written must be so; they have no field of their own.
    "model_type": ["t5"],
    "scale_decoder_outputs": [True, False],
    "decoder_start_token_id": [PAD],
    "pad_token_id": [PAD],
    "eos_token_id": [EOS],
}


def read_config(folder, fields):
    """The settings of a folder's config.json, name -> value, with defaults where it has none.

    fields: those of a dataclass, with their types and defaults. A null counts as absent.
    transformers 5 writes tie_word_embeddings true for every T5, and marks an untied one by
    scale_decoder_outputs false: then tie_word_embeddings is set to False here.
    Raises ValueError for a missing file, a missing setting, or a value that no T5 has.
    """
    path = Path(folder) / "config.json"
    settings = {field.name: field.default for field in fields}
    given = {name: value for name, value in read_json(path).items() if value is not None}
    settings.update(given)
    if settings["num_decoder_layers"] is dataclasses.MISSING:
        settings["num_decoder_layers"] = settings["num_layers"]
    missing = [name for name, value in settings.items() if value is dataclasses.MISSING]
    if missing:
        raise ValueError(f"{path} is not the configuration of a T5: it lacks {', '.join(missing)}")
    for name, choices in CHOICES.items():
        if name in settings:
            check(path, name, settings[name], choices)
    # Half of the buckets hold one distance each, so the largest distance is beyond them.
    exact = settings["relative_attention_num_buckets"] // 2
    distance = "relative_attention_max_distance"
    check(path, distance, settings[distance], SIZES[exact:])
    epsilon = settings["layer_norm_epsilon"]
    if type(epsilon) not in (int, float) or not 0 < epsilon < 1:
        raise ValueError(f"{path}: layer_norm_epsilon is {epsilon!r:.80}; "
                         "wanted a number between 0 and 1")
    if settings.get("scale_decoder_outputs") is False:
        settings["tie_word_embeddings"] = False
    return {field.name: settings[field.name] for field in fields}


def check(path, name, value, choices):
    """Raise ValueError if a setting has none of these values, in their type: True is not 1."""
    if value in choices and type(value) is type(choices[0]):
        return
    if isinstance(choices, range):
        wanted = f"a whole number from {choices[0]} to {choices[-1]}"
    else:
        wanted = " or ".join(json.dumps(choice) for choice in choices)
    raise ValueError(f"{path}: {name} is {value!r:.80}; wanted {wanted}")


# ----------------------------------------------------------------- files of tensors

FORMS = ["model.safetensors", "model.safetensors.index.json",
         "pytorch_model.bin", "pytorch_model.bin.index.json"]


@contextlib.contextmanager
def reading(path):
    """Turn every error of reading a file into a ValueError of one line that names the file.

    A folder, a pipe and a link to nothing are refused before they are opened.
    """
    if not os.path.isfile(path):
        raise ValueError(f"{path} is missing, or no file")
    try:
        yield
    except Exception as error:  # for a damaged file torch raises nearly every kind
        reason = str(error).partition("\n")[0]
        if isinstance(error, pickle.UnpicklingError):  # between advice to execute it all the same
            before, _, _ = str(error).partition("Check the documentation of torch.load")
            reason = before.strip().rpartition("\n")[2]
        raise ValueError(f"{path} cannot be read, is the download complete? "
                         f"{type(error).__name__}: {reason:.200}") from None


def read_tensors(path):
    """What a .safetensors file or a pickle of torch's holds; of a pickle nothing is executed.

    The file is read into memory and not mapped, so that a change of it, later, changes no
    result. That takes as much memory as the file is long (mapped, its pages could be dropped
    again) and about half a second a gigabyte, from the memory of the system's file cache.
    Raises ValueError.
    """
    path = Path(path)
    with reading(path):
        if path.suffix == ".safetensors":
            return load_file(path, backend="pread")  # the other backend, "mmap", maps it
        return torch.load(path, map_location="cpu", weights_only=True)


def weight_files(folder):
    """The paths of the files of a folder's weights, [] if there are none. Raises ValueError."""
    for form in FORMS:
        path = folder / form
        if path.exists():
            names = shard_names(path) if form.endswith(".json") else [form]
            return [folder / name for name in names]
    return []


def shard_names(index):
    """The names of the files that an index names, all beside it. Raises ValueError."""
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ValueError(f"{index}: weight_map is {weight_map!r:.80}; wanted an object")
    for name in weight_map.values():
        if not re.fullmatch(r"[\w.-]+\.(safetensors|bin)", str(name)):
            raise ValueError(f"{index}: weight_map names {name!r:.80}; "
                             "wanted .safetensors or .bin files beside it")
    return sorted(set(weight_map.values()))


# ----------------------------------------------------------------------- weights

FLOATS = [torch.float32, torch.float16, torch.bfloat16, torch.float64]


def read_weights(folder, shapes, tied):
    """The weights of a T5, published name -> tensor, in the type in which they are stored.

    shapes   published name -> shape, a tuple, of every weight that the T5 needs
    tied     whether the output layer is the embedding again

    Copies of the embedding must be equal, and any one of them is enough. All numbers are read
    into memory: see read_tensors. Raises ValueError that names all tensors that do not fit.
    """
    paths = weight_files(Path(folder))
    if not paths:
        raise ValueError(f"{folder} holds no weights: wanted {' or '.join(FORMS)}")
    tensors = {}
    for path in paths:
        content = read_tensors(path)
        if not isinstance(content, dict):
            raise ValueError(f"{path} holds a {type(content).__name__}, wanted tensors by name")
        twice = sorted(tensors.keys() & content.keys())
        if twice:
            raise ValueError(f"{path} holds {twice[0]!r:.80}, which another shard holds as well")
        tensors.update(content)
    tensors.pop(LEFTOVER, None)
    names = COPIES + [OUTPUT] if tied else COPIES
    copies = [name for name in names if name in tensors]
    if copies:
        tensors.setdefault(EMBEDDING, tensors[copies[0]])
    check_fit(folder, tensors, shapes | dict.fromkeys(copies, shapes[EMBEDDING]))
    for name in copies:
        if not torch.equal(tensors[name].float(), tensors[EMBEDDING].float()):
            raise ValueError(f"{folder}: {copies[0]} and {name} differ, but in this T5 they are "
                             "one tensor; is tie_word_embeddings in config.json right?")
    return {name: tensors[name] for name in shapes}


def check_fit(folder, tensors, wanted):
    """Raise one ValueError for all that is missing, unexpected or mismatched.

    tensors: name -> tensor; wanted: name -> shape.
    """
    missing = []
    unexpected = [f"{name!r:.80}" for name in tensors if name not in wanted]
    mismatched = []
    for name, shape in wanted.items():
        if name not in tensors:
            missing.append(name)
        elif flaw(tensors[name], shape):
            mismatched.append(f"{name} {flaw(tensors[name], shape)}")
    kinds = {"missing": missing, "unexpected": unexpected, "mismatched": mismatched}
    problems = [f"{kind}: {summary(names)}." for kind, names in kinds.items() if names]
    if problems:
        raise ValueError(f"{folder}: the weights do not fit config.json. {' '.join(problems)}")


def flaw(tensor, shape):
    """What keeps what was read from being a tensor of weights of this shape, or None."""
    if not isinstance(tensor, torch.Tensor):
        return f"is no tensor but {type(tensor).__name__}"
    if tensor.shape != shape:
        return f"is {tuple(tensor.shape)}, wanted {shape}"
    if tensor.dtype not in FLOATS:
        return f"is {tensor.dtype}, wanted one of {', '.join(map(str, FLOATS))}"
    if tensor.layout != torch.strided or tensor.is_meta:
        return "is sparse or without numbers"
    for extreme in torch.aminmax(tensor):
        if not extreme.float().isfinite():  # nor is 1e300 in fp32
            return "holds numbers that are not finite"
    return None


def summary(names):
    """Names for a message: all of a few; of many the first, and their number.

    >>> summary(["encoder.q", "encoder.k"])
    'encoder.q; encoder.k'
    >>> summary([f"module.{i}" for i in range(100)])[-28:]
    '; module.16; mod… 100 in all'
    """
    text = "; ".join(names)
    if len(text) <= 200:
        return text
    return f"{text[:180]}… {len(names)} in all"


# ---------------------------------------------------------- fingerprint and writing


def fingerprint(config, tensors):
    """A short name for a T5: equal for equal settings and weights, in whatever form of file.

    config: name -> value; tensors: published name -> tensor, in the type in which they are
    stored. It is the sha256 of all settings and all bytes, about a second a gigabyte.
    """
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy())
    return digest.hexdigest()[:16]


def write(folder, config, tensors):
    """Write config.json and model.safetensors as the reference implementation reads them.

    config: name -> value; tensors: published name -> tensor. Returns their fingerprint.
    """
    folder = Path(folder)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_json(folder / "config.json", config | {
        "model_type": "t5",
        "architectures": ["T5ForConditionalGeneration"],
        "is_encoder_decoder": True,
        "decoder_start_token_id": PAD,
        "pad_token_id": PAD,
        "eos_token_id": EOS,
        "dropout_rate": 0.1,
    })
    write_whole(folder / "model.safetensors",
                lambda path: save_file(tensors, path, metadata={"format": "pt"}))
    return fingerprint(config, tensors)
