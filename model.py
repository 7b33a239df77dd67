"""T5, written by hand: the frozen model behind every prompt.

What is here: both kinds of the published checkpoints, read and written in their
own layout, with training-free use of them (scoring a label, greedy generation).

    v1.0   t5-small, t5-base, …          ReLU feed-forward, tied embedding: the
                                         output layer is the embedding again, and
                                         its input is scaled by D^-0.5
    v1.1   google/t5-v1_1-*, google/t5-*-lm-adapt, google/flan-t5-*
                                         gated GELU feed-forward, an output layer
                                         of its own

Source: Raffel et al. 2020, "Exploring the Limits of Transfer Learning with a
Unified Text-to-Text Transformer", section 2.1, and the published checkpoints.
Three habits of T5 that other transformers do not have, each marked below:
attention is not scaled by K^-0.5 (the scale is inside the initial weights);
positions enter only as a learned number added to the attention scores, one table
for a whole stack; and nothing has an additive bias or a mean subtracted.

What is left out: beam search and sampling, and any way to cut the model over
several devices.

Dimensions, the same letters in every file of this project:
    B batch        S source tokens   T target tokens   P prompt length
    D model        H heads           K head size       F feed-forward
    V vocabulary   N prompts in a bank
"""

import dataclasses
import hashlib
import json
import math
import os
import pickle
import re
import sys
import tempfile
import zipfile
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

PAD, EOS, UNK = 0, 1, 2  # pad is also the token that the decoder starts from

# Added to the score of a key that may not be seen. Finite, so that a row with no
# visible key gives numbers and not NaN; within what fp16 can hold (-65504).
MASKED = -3e4


@dataclasses.dataclass(frozen=True)
class Config:
    """The sizes of a T5, under the names of its config.json."""

    vocab_size: int
    d_model: int
    d_kv: int  # K; H * K need not be D
    d_ff: int
    num_layers: int
    num_decoder_layers: int  # may differ from num_layers
    num_heads: int
    relative_attention_num_buckets: int = 32
    relative_attention_max_distance: int = 128
    feed_forward_proj: str = "relu"  # or "gated-gelu"
    tie_word_embeddings: bool = True
    layer_norm_epsilon: float = 1e-6

    @classmethod
    def read(cls, path):
        """Read a config.json. Raises ValueError if it is not that of a T5 we know."""
        try:
            raw = json.loads(Path(path).read_text(encoding="utf-8"))
        except json.JSONDecodeError as error:
            raise ValueError(f"{path}: not JSON: {error}") from None
        if not isinstance(raw, dict):
            raise ValueError(f"{path}: not a T5 configuration, wanted an object of settings")
        if raw.get("num_decoder_layers") is None:
            raw["num_decoder_layers"] = raw.get("num_layers")
        # transformers 5 writes "tied" into every config.json, and tells v1.1 by this.
        if raw.get("scale_decoder_outputs") is False:
            raw["tie_word_embeddings"] = False
        known = [f.name for f in dataclasses.fields(cls)]
        missing = [f.name for f in dataclasses.fields(cls)
                   if f.default is dataclasses.MISSING and raw.get(f.name) is None]
        if missing:
            raise ValueError(f"{path}: not a T5 configuration, it lacks {', '.join(missing)}")
        config = cls(**{name: raw[name] for name in known if raw.get(name) is not None})
        if config.feed_forward_proj not in ("relu", "gated-gelu"):
            raise ValueError(f"{path}: feed_forward_proj is {config.feed_forward_proj!r}; "
                             "this T5 knows 'relu' and 'gated-gelu'")
        return config


# ---------------------------------------------------------------- the layers


class RMSNorm(nn.Module):
    """x / sqrt(mean(x^2) + eps) * weight: no mean is subtracted, no bias added.

    RMSNorm of [3, 4] (weight 1) is [3, 4] / sqrt(12.5) = [0.849, 1.131].
    """

    def __init__(self, config):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(config.d_model))
        self.eps = config.layer_norm_epsilon

    def forward(self, x):
        # Always in fp32: squares of bf16 numbers lose too much in the mean.
        scale = torch.rsqrt(x.float().pow(2).mean(-1, keepdim=True) + self.eps)
        return (x * scale).to(self.weight.dtype) * self.weight


def relative_bucket(distance, bidirectional, buckets=32, max_distance=128):
    """The bucket of each distance (key position - query position): integers, any shape.

    Half of the buckets hold one distance each, the other half grow with its
    logarithm up to max_distance, and the last holds all that is farther. The
    encoder sees both ways and splits the buckets between past and future.

    >>> relative_bucket(torch.tensor([-2, -1, 0, 1, 2, 8, 200]), bidirectional=True).tolist()
    [2, 1, 0, 17, 18, 24, 31]
    >>> relative_bucket(torch.tensor([-200, -16, -3, 0, 1]), bidirectional=False).tolist()
    [31, 16, 3, 0, 0]
    """
    bucket = torch.zeros_like(distance)
    if bidirectional:
        buckets //= 2
        bucket = bucket + (distance > 0) * buckets
        distance = distance.abs()
    else:
        distance = (-distance).clamp(min=0)  # the future is masked anyway
    exact = buckets // 2
    steps = torch.log(distance.clamp(min=1).float() / exact) / math.log(max_distance / exact)
    far = (exact + (steps * (buckets - exact)).long()).clamp(max=buckets - 1)
    return bucket + torch.where(distance < exact, distance, far)


class RelativeBias(nn.Module):
    """One learned number per bucket and head, shared by all blocks of a stack."""

    def __init__(self, config, bidirectional):
        super().__init__()
        self.table = nn.Embedding(config.relative_attention_num_buckets, config.num_heads)
        self.max_distance = config.relative_attention_max_distance
        self.bidirectional = bidirectional

    def forward(self, queries, keys):
        """For positions queries (T,) and keys (S,): what to add to the scores, (1, H, T, S)."""
        distance = keys[None, :] - queries[:, None]  # (T, S)
        bucket = relative_bucket(distance, self.bidirectional, self.table.num_embeddings,
                                 self.max_distance)
        return self.table(bucket).permute(2, 0, 1)[None]  # (T, S, H) -> (1, H, T, S)


class Attention(nn.Module):
    """softmax(q k^T + bias) v over H heads of size K, from x to memory."""

    def __init__(self, config):
        super().__init__()
        D, inner = config.d_model, config.num_heads * config.d_kv
        self.heads = config.num_heads
        self.q = nn.Linear(D, inner, bias=False)
        self.k = nn.Linear(D, inner, bias=False)
        self.v = nn.Linear(D, inner, bias=False)
        self.o = nn.Linear(inner, D, bias=False)

    def split(self, x):
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, S, H*K) -> (B, H, S, K)

    def keys_values(self, memory):
        """(B, S, D) -> keys and values, each (B, H, S, K)."""
        return self.split(self.k(memory)), self.split(self.v(memory))

    def forward(self, x, keys, values, bias, dropout=0.0):
        """x (B, T, D) asks keys and values (B, H, S, K); bias broadcasts to (B, H, T, S)."""
        q = self.split(self.q(x))  # (B, H, T, K)
        # scale=1: T5 does not divide the scores by sqrt(K).
        out = F.scaled_dot_product_attention(q, keys, values, attn_mask=bias.to(q.dtype),
                                             dropout_p=dropout, scale=1.0)
        return self.o(out.transpose(1, 2).flatten(2))  # (B, H, T, K) -> (B, T, H*K) -> (B, T, D)


class FeedForward(nn.Module):
    """v1.0: wo(relu(wi x)). v1.1: wo(gelu(wi_0 x) * wi_1 x), GELU in its tanh form."""

    def __init__(self, config):
        super().__init__()
        self.gated = config.feed_forward_proj == "gated-gelu"
        for name in ("wi_0", "wi_1") if self.gated else ("wi",):
            setattr(self, name, nn.Linear(config.d_model, config.d_ff, bias=False))
        self.wo = nn.Linear(config.d_ff, config.d_model, bias=False)

    def forward(self, x, dropout=0.0):
        if self.gated:
            hidden = F.gelu(self.wi_0(x), approximate="tanh") * self.wi_1(x)  # (B, S, F)
        else:
            hidden = F.relu(self.wi(x))
        hidden = F.dropout(hidden, dropout)
        if hidden.dtype != torch.float16:
            return self.wo(hidden)
        # fp16 ends at 65504, which this product exceeds from t5-base on: stay in fp32.
        with torch.autocast(hidden.device.type, enabled=False):
            return F.linear(hidden.float(), self.wo.weight.float())


class Block(nn.Module):
    """Self-attention, in the decoder cross-attention, feed-forward.

    Each on a normalised copy of the stream, its result added to the stream.
    """

    def __init__(self, config, decoder):
        super().__init__()
        self.self_norm = RMSNorm(config)
        self.self_attention = Attention(config)
        if decoder:
            self.cross_norm = RMSNorm(config)
            self.cross_attention = Attention(config)
        self.ff_norm = RMSNorm(config)
        self.ff = FeedForward(config)


class Stack(nn.Module):
    """The encoder or the decoder: its blocks, its one table of positions, its last norm."""

    def __init__(self, config, decoder):
        super().__init__()
        depth = config.num_decoder_layers if decoder else config.num_layers
        self.blocks = nn.ModuleList(Block(config, decoder) for _ in range(depth))
        self.positions = RelativeBias(config, bidirectional=not decoder)
        self.norm = RMSNorm(config)


class T5(nn.Module):
    """A T5 of the sizes in `config`. Weights are those of `load`, or of `initialise`.

    `dropout` is 0 unless set (`t5.dropout = 0.1`): a frozen model in a prompt's
    training gives the same answer twice, which a cached teacher relies on.
    """

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.dropout = 0.0
        self.shared = nn.Embedding(config.vocab_size, config.d_model)
        self.encoder = Stack(config, decoder=False)
        self.decoder = Stack(config, decoder=True)
        if not config.tie_word_embeddings:
            self.lm_head = nn.Linear(config.d_model, config.vocab_size, bias=False)

    @property
    def device(self):
        return self.shared.weight.device

    def embed(self, ids):
        """Token ids (B, S) -> their vectors (B, S, D)."""
        return self.shared(ids)

    def encode(self, embedded, mask):
        """Run the encoder on vectors, so that prompts can stand among them.

        embedded (B, S, D); mask (B, S), true where there is a token or a prompt
        vector. Returns the memory (B, S, D). Positions count from the first column.
        """
        B, S, D = embedded.shape
        if mask.shape != (B, S):
            raise ValueError(f"mask has shape {tuple(mask.shape)}, the input ({B}, {S}, {D})")
        p = self.dropout
        at = torch.arange(S, device=embedded.device)
        bias = self.encoder.positions(at, at).masked_fill(~mask.bool()[:, None, None], MASKED)
        x = F.dropout(embedded.float(), p)  # what adds up stays in fp32; bias is (B, H, S, S)
        for block in self.encoder.blocks:
            normed = block.self_norm(x)
            keys, values = block.self_attention.keys_values(normed)
            x = x + F.dropout(block.self_attention(normed, keys, values, bias, p), p)
            x = x + F.dropout(block.ff(block.ff_norm(x), p), p)
        return F.dropout(self.encoder.norm(x), p)

    def decode(self, decoder_ids, memory, mask, cache=None):
        """Logits for every next token, teacher-forced.

        decoder_ids (R, T) already start with pad; memory (B, S, D) and mask (B, S)
        are those of `encode`. R is B, or L times B: then each input has L rows one
        after the other (its candidate labels, say), which share its memory.
        With a `cache` (an empty list at first, see `generate`) decoder_ids are only
        the new tokens, and the keys and values of the earlier ones come from it.
        Returns (R, T, V).
        """
        return self.output(self.decoder_states(decoder_ids, memory, mask, cache))

    def output(self, states):
        """Decoder states (R, T, D) -> logits (R, T, V)."""
        if self.config.tie_word_embeddings:
            return F.linear(states * self.config.d_model ** -0.5, self.shared.weight)
        return self.lm_head(states)

    def decoder_states(self, decoder_ids, memory, mask, cache=None):
        """What `decode` computes, before the output layer: (R, T, D)."""
        (R, T), (B, S, D) = decoder_ids.shape, memory.shape
        if R % B:
            raise ValueError(f"{R} decoder rows cannot share the memory of {B} inputs evenly")
        if cache is None:
            cache, keep = [], False
        else:
            keep = True
        p = self.dropout
        past = cache[0]["keys"].shape[2] if cache else 0
        at = torch.arange(past + T, device=memory.device)
        future = at[None, :] > at[past:, None]  # (T, past + T)
        self_bias = self.decoder.positions(at[past:], at).masked_fill(future, MASKED)
        # Cross-attention has no positions at all, only the padding to avoid.
        cross_bias = torch.zeros(B, 1, 1, S, device=memory.device).masked_fill(
            ~mask.bool()[:, None, None], MASKED)
        x = F.dropout(self.embed(decoder_ids).float(), p)
        for i, block in enumerate(self.decoder.blocks):
            normed = block.self_norm(x)
            keys, values = block.self_attention.keys_values(normed)
            if i < len(cache):
                keys = torch.cat([cache[i]["keys"], keys], dim=2)
                values = torch.cat([cache[i]["values"], values], dim=2)
                cross = cache[i]["cross"]
            else:
                cross = block.cross_attention.keys_values(memory)
            if keep:
                entry = {"keys": keys, "values": values, "cross": cross}
                cache[i:i + 1] = [entry]
            x = x + F.dropout(block.self_attention(normed, keys, values, self_bias, p), p)
            # No positions and no order among the queries: the rows that share a memory
            # can ask it side by side, as one longer row.
            asked = block.cross_norm(x).view(B, -1, D)  # (L*B, T, D) -> (B, L*T, D)
            answer = block.cross_attention(asked, *cross, cross_bias, p).view(R, T, D)
            x = x + F.dropout(answer, p)
            x = x + F.dropout(block.ff(block.ff_norm(x), p), p)
        return F.dropout(self.decoder.norm(x), p)

    def score_labels(self, memory, mask, labels):
        """log p(label | input) of every label for every input, eos counted.

        labels (L, T): token ids that end in eos, padded. Returns (B, L). The input
        has been encoded once, however many labels there are.
        """
        B, (L, T) = len(memory), labels.shape
        targets = labels.repeat(B, 1)  # (B*L, T), the labels of one input together
        logits = self.decode(shift_right(targets), memory, mask)
        return target_log_probs(logits, targets).sum(-1).view(B, L)

    @torch.no_grad()
    def generate(self, memory, mask, max_tokens, use_cache=True):
        """Greedy continuation: ids (B, <= max_tokens), eos included, pad after it.

        `use_cache=False` decodes everything again for each token: the slow way,
        kept because it is the one that is obviously right.
        """
        ids = torch.full((len(memory), 1), PAD, device=memory.device)
        done = torch.zeros(len(memory), dtype=torch.bool, device=memory.device)
        cache = [] if use_cache else None
        while ids.shape[1] <= max_tokens and not done.all():
            new = ids[:, -1:] if use_cache else ids
            token = self.decode(new, memory, mask, cache)[:, -1].argmax(-1)
            token = token.masked_fill(done, PAD)
            done = done | (token == EOS)
            ids = torch.cat([ids, token[:, None]], dim=1)
        return ids[:, 1:]


def shift_right(targets):
    """Decoder inputs for targets (B, T): pad in front, the last token dropped.

    >>> shift_right(torch.tensor([[8, 9, 1]])).tolist()
    [[0, 8, 9]]
    """
    return F.pad(targets, (1, 0), value=PAD)[:, :-1]


def target_log_probs(logits, targets):
    """log p of each target token: logits (B, T, V), targets (B, T) -> (B, T), 0 at padding."""
    B, T, V = logits.shape
    losses = F.cross_entropy(logits.float().view(B * T, V), targets.reshape(B * T),
                             ignore_index=PAD, reduction="none")
    return -losses.view(B, T)


# ------------------------------------------------------------ the checkpoint

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


def read_tensors(folder):
    """All tensors of a checkpoint folder, name -> tensor, mapped from the file, not copied.

    Knows model.safetensors, the same in several files with an index, and
    pytorch_model.bin (weights only: nothing in it is executed).
    """
    folder = Path(folder)
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    old = folder / "pytorch_model.bin"
    if single.exists():
        files = [single]
    elif index.exists():
        names = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
        files = [folder / name for name in sorted(set(names))]
        absent = [f.name for f in files if not f.exists()]
        if absent:
            raise ValueError(f"{index} names files that are not there: {', '.join(absent)}")
    elif old.exists():
        try:  # only the format since torch 1.6, a zip file, can be mapped
            return torch.load(old, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(old))
        except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
            raise ValueError(f"{old} cannot be read, is the download complete? {error}") from None
    else:
        found = ", ".join(sorted(p.name for p in folder.iterdir())) or "nothing"
        raise ValueError(f"{folder} holds no weights: wanted model.safetensors, "
                         f"model.safetensors.index.json or pytorch_model.bin; found {found}")
    tensors = {}
    for file in files:
        try:
            with safe_open(file, framework="pt") as opened:
                tensors.update((name, opened.get_tensor(name)) for name in opened.keys())
        except Exception as error:  # safetensors raises a class of its own
            raise ValueError(f"{file} cannot be read, is the download complete? {error}") from None
    return tensors


def fingerprint(tensors):
    """A short name for these weights: equal for equal weights, whatever dtype they run in.

    Hashes the name, shape and 16 evenly spaced numbers of every tensor, so that
    it takes milliseconds for 11 billion weights too.
    """
    digest = hashlib.sha256()
    for name in sorted(set(tensors) - UNUSED):
        tensor = tensors[name]
        at = torch.arange(16) * (tensor.numel() - 1) // 15
        places = torch.unravel_index(at, tensor.shape)
        digest.update(f"{name} {tuple(tensor.shape)} {tensor[places].bfloat16().tolist()}".encode())
    return digest.hexdigest()[:16]


def load(folder, dtype=torch.float32, device="cpu"):
    """A frozen T5 from a folder with config.json and the weights.

    The weights are in `dtype` on `device`, except that under fp16 the feed-forward's
    `wo` stays in fp32 (see FeedForward). Raises ValueError, naming every tensor that
    is missing, unexpected or of another shape. Sets `t5.fingerprint`.
    """
    folder = Path(folder)
    if not (folder / "config.json").exists():
        found = ", ".join(sorted(p.name for p in folder.iterdir())) if folder.is_dir() else "no folder"
        raise ValueError(f"{folder} holds no config.json (found: {found or 'nothing'})")
    config = Config.read(folder / "config.json")
    with torch.device("meta"):  # shapes only: no memory is taken for random weights
        t5 = T5(config)
    wanted = {published_name(name): name for name in t5.state_dict()}
    tensors = read_tensors(folder)
    found = set(tensors) - UNUSED
    if config.tie_word_embeddings and "lm_head.weight" in found:
        if not torch.equal(tensors["lm_head.weight"], tensors["shared.weight"]):
            raise ValueError(f"{folder}: config.json ties the output layer to the embedding, but "
                             "lm_head.weight and shared.weight differ")
        found.remove("lm_head.weight")
    shapes = {name: tuple(t5.state_dict()[ours].shape) for name, ours in wanted.items()}
    problems = [
        ("missing", [name for name in wanted if name not in found]),
        ("unexpected", sorted(found - set(wanted))),
        ("mismatched", [f"{name} is {tuple(tensors[name].shape)}, config.json says {shapes[name]}"
                        for name in wanted if name in found
                        and tuple(tensors[name].shape) != shapes[name]]),
    ]
    if any(names for _, names in problems):
        raise ValueError(f"{folder}: the weights do not fit config.json. " + " ".join(
            f"{kind}: {'; '.join(names)}." for kind, names in problems if names))
    state = {}
    for name, ours in wanted.items():
        keep = dtype == torch.float16 and name.endswith("wo.weight")
        state[ours] = tensors[name].to(device, torch.float32 if keep else dtype)
    t5.load_state_dict(state, assign=True)
    t5.fingerprint = fingerprint({name: tensors[name] for name in wanted})
    return t5.requires_grad_(False)


def save(t5, folder):
    """Write config.json and model.safetensors, as published, each whole or not at all."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {published_name(name): tensor.detach().cpu().contiguous()
               for name, tensor in t5.state_dict().items()}
    config = dataclasses.asdict(t5.config) | {
        "model_type": "t5", "architectures": ["T5ForConditionalGeneration"],
        "is_encoder_decoder": True, "decoder_start_token_id": PAD,
        "pad_token_id": PAD, "eos_token_id": EOS, "dropout_rate": 0.1}
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        save_file(tensors, Path(scratch) / "model.safetensors", metadata={"format": "pt"})
        (Path(scratch) / "config.json").write_text(json.dumps(config, indent=2) + "\n")
        for name in ("config.json", "model.safetensors"):
            os.replace(Path(scratch) / name, folder / name)


def initialise(config, seed=0):
    """A T5 with random weights, on the scales of the T5 paper's own code, all trainable."""
    generator = torch.Generator().manual_seed(seed)
    t5 = T5(config)
    D, inner = config.d_model, config.num_heads * config.d_kv
    deviation = {"shared": 1.0, "q": (D * config.d_kv) ** -0.5, "k": D ** -0.5, "v": D ** -0.5,
                 "o": inner ** -0.5, "wi": D ** -0.5, "wi_0": D ** -0.5, "wi_1": D ** -0.5,
                 "wo": config.d_ff ** -0.5, "table": D ** -0.5, "lm_head": 1.0}
    with torch.no_grad():
        for name, weight in t5.named_parameters():
            if weight.dim() == 2:  # the norms stay at 1
                weight.normal_(0, deviation[name.split(".")[-2]], generator=generator)
    t5.fingerprint = fingerprint({published_name(k): v for k, v in t5.state_dict().items()})
    return t5


# ----------------------------------------------------------- the command line

# Of the published weights, from T5's own code in Mesh TensorFlow: the summed log p of
# "Hi I am" (eos counted) after "Hello there".
KNOWN_ANSWERS = {"t5-small": -19.0845, "google/t5-v1_1-small": -59.0293}


def main():
    import argparse

    import data  # for the tokenizer only: nothing above needs text

    parser = argparse.ArgumentParser(description="Continue a text, or check the published weights.")
    parser.add_argument("model", help="a folder, or a name such as t5-small")
    parser.add_argument("text", nargs="?", help="what T5 reads")
    parser.add_argument("--max-tokens", type=int, default=40, help="longest answer (default: 40)")
    parser.add_argument("--check", choices=sorted(KNOWN_ANSWERS),
                        help="compare with the known answer of these published weights")
    args = parser.parse_args()
    if (args.text is None) == (args.check is None):
        raise ValueError("give a text to continue, or --check with a name, and not both")
    folder = data.checkpoint(args.model)
    t5, tokenizer = load(folder), data.Tokenizer(folder / "spiece.model")
    ids = torch.tensor([tokenizer.encode("Hello there" if args.check else args.text)])
    memory = t5.encode(t5.embed(ids), ids != PAD)
    if args.text is not None:
        print(tokenizer.decode(t5.generate(memory, ids != PAD, args.max_tokens)[0].tolist()))
        return
    found = t5.score_labels(memory, ids != PAD, torch.tensor([tokenizer.encode("Hi I am")])).item()
    known = KNOWN_ANSWERS[args.check]
    agrees = abs(found - known) < 1e-4
    print(f"log p(Hi I am | Hello there) = {found:.4f}, known {known:.4f}: "
          f"{'agrees' if agrees else 'DIFFERS'}")
    if not agrees:
        raise ValueError(f"{args.model} does not give the known answer of {args.check}")


if __name__ == "__main__":
    try:
        main()
    except ValueError as error:
        print(f"model.py: {error}", file=sys.stderr)
        sys.exit(2)
