"""T5, written by hand: the frozen model behind every prompt.

    ids (B, S) ─embed─► (B, S, D) ─encode─► memory (B, S, D) ─┐
                        ▲ prompts are put in front here       ├─decode─► logits (B, T, V)
    decoder ids (B, T) ───────────────────────────────────────┘

This file has the layers, the encoder and the decoder, and two ways to get an answer from a frozen
model: label scores and greedy generation. It runs both kinds of published checkpoints:

    v1.0   t5-small, t5-base, …: ReLU feed-forward, tied embedding (the output layer is the
           embedding matrix, and its input is scaled by D^-0.5)
    v1.1   google/t5-v1_1-*, google/t5-*-lm-adapt, google/flan-t5-*: gated GELU feed-forward,
           a separate output layer

Source: Raffel et al. 2020, "Exploring the Limits of Transfer Learning with a Unified Text-to-Text
Transformer", section 2.1, and the published checkpoints. T5 differs from other transformers in
three points:

- Attention scores are not scaled by K^-0.5.
- Positions have no vectors. A learned number for each distance is added to the attention scores;
  all blocks of a stack share one table of these numbers.
- No linear layer has a bias term, and no norm has one or subtracts the mean.

Left out: beam search and sampling, and a model split over several devices.

    python model.py toy/t5 "nli sentence1: old cats chased dogs . sentence2: cats chased dogs ."

(The toy T5 was pretrained on inputs that begin with the name of the task, here "nli". Behind a
prompt the name is left out.)

Dimensions, the same letters in every file of this project:
    B batch        S source tokens   T target tokens   P prompt length
    D model        H heads           K head size       F feed-forward
    V vocabulary   N prompts in a bank   L labels of a task
"""

import argparse
import dataclasses
import math
import sys
from contextlib import nullcontext
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from plumbing import checkpoint
from plumbing.tokenizer import EOS, PAD, Tokenizer

# Added to the attention score of a masked key. It is finite, so that a row whose keys are all
# masked does not give NaN. fp16 can hold it (its lowest number is -65504).
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
    def read(cls, folder):
        """From a checkpoint's config.json. Raises ValueError if this file cannot run that model."""
        return cls(**checkpoint.read_config(folder, dataclasses.fields(cls)))


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
        # The mean is always in fp32: a mean of squares in bf16 is not accurate enough.
        scale = torch.rsqrt(x.float().pow(2).mean(-1, keepdim=True) + self.eps)
        return (x * scale).to(self.weight.dtype) * self.weight


def relative_bucket(distance, bidirectional, buckets=32, max_distance=128):
    """The bucket of each distance (key position - query position): integers, any shape.

    Half of the buckets hold one distance each. The other half get wider with the logarithm of the
    distance. The last bucket begins below max_distance (in the encoder at 91 of 128, see
    RelativeBias), and also holds all larger distances. The encoder sees both directions, so past
    and future get half of the buckets each.

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
    log_ratio = torch.log(distance.clamp(min=1).float() / exact) / math.log(max_distance / exact)
    far = exact + (log_ratio * (buckets - exact)).long()
    far = far.clamp(max=buckets - 1)
    return bucket + torch.where(distance < exact, distance, far)


def embedding(rows, width):
    """An nn.Embedding that is not initialised: `load` and `initialise` fill it in.

    nn.Embedding(rows, width) would call normal_. On the meta device, on which `load` builds a T5,
    torch imports its compiler for that, which takes seconds. (For nn.Linear it does not.)
    """
    return nn.Embedding.from_pretrained(torch.empty(rows, width), freeze=False)


class RelativeBias(nn.Module):
    """One learned number per bucket and head, shared by all blocks of a stack.

    These distances are all that T5 knows about positions. A prompt of P vectors takes the
    encoder's positions 0 to P - 1, and the text follows (P = 3, S = 4 here):

        position      0   1   2 │ 3   4    5   6
                      p   p   p │ old cats …   </s>
        distance from "cats" to the prompt      -4 -3 -2     (key minus query)
                             to the text        -1  0 +1 +2
        distance from "cats" to "old", with or without the prompt:    -1

    So a prompt shifts the text, but changes no distance inside it. That is why a frozen T5 can
    still read the text behind a prompt that it has never seen. A longer prompt only moves its
    first vectors farther from the words. In the encoder each distance below 8 has its own
    bucket. Larger distances share buckets, which get wider and wider. All distances from 91 on
    share the last bucket (91 is 8 * 16^(7/8), rounded up).
    """

    def __init__(self, config, bidirectional):
        super().__init__()
        self.table = embedding(config.relative_attention_num_buckets, config.num_heads)
        self.max_distance = config.relative_attention_max_distance
        self.bidirectional = bidirectional

    def forward(self, queries, keys):
        """For positions queries (T,) and keys (S,): what to add to the scores, (1, H, T, S)."""
        distance = keys[None, :] - queries[:, None]  # (T, S)
        buckets = self.table.num_embeddings
        bucket = relative_bucket(distance, self.bidirectional, buckets, self.max_distance)
        return self.table(bucket).permute(2, 0, 1)[None]  # (T, S, H) -> (1, H, T, S)


class Attention(nn.Module):
    """softmax(q k^T + bias) v over H heads of size K: queries from x, keys and values from memory.

    Other transformers divide q k^T by sqrt(K). T5 does not; its weights of q start smaller by that
    factor. The norm gives x unit variance. With a variance of 1/(DK) for q's weights and 1/D for
    k's,

        var(q_i) = D * 1/(DK) = 1/K     var(k_i) = D * 1/D = 1     var(q . k) = K * 1/K * 1 = 1

    so the scores have unit variance when training starts. The published checkpoints were trained
    without the division. Dividing now would make all their attention weights too even.
    """

    def __init__(self, config):
        super().__init__()
        D = config.d_model
        inner = config.num_heads * config.d_kv
        self.heads = config.num_heads
        self.q = nn.Linear(D, inner, bias=False)
        self.k = nn.Linear(D, inner, bias=False)
        self.v = nn.Linear(D, inner, bias=False)
        self.o = nn.Linear(inner, D, bias=False)
        self.dropout = nn.Dropout(0.0)  # only holds p: `attend` passes it on

    def to_heads(self, x):
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, S, H*K) -> (B, H, S, K)

    def keys_values(self, memory):
        """(B, S, D) -> keys and values, each (B, H, S, K)."""
        return self.to_heads(self.k(memory)), self.to_heads(self.v(memory))

    def attend(self, x, keys, values, bias):
        """Queries from x (B, T, D); keys, values (B, H, S, K); bias broadcasts to (B, H, T, S)."""
        queries = self.to_heads(self.q(x))
        p = self.dropout.p if self.training else 0.0
        out = F.scaled_dot_product_attention(
            queries, keys, values, attn_mask=bias.to(queries.dtype), dropout_p=p, scale=1.0)
        return self.o(out.transpose(1, 2).flatten(2))  # (B, H, T, K) -> (B, T, H*K) -> (B, T, D)

    def forward(self, x, memory, bias):
        """x (B, T, D), memory (B, S, D), bias (…, T, S) -> (B, T, D)."""
        keys, values = self.keys_values(memory)
        return self.attend(x, keys, values, bias)


class FeedForward(nn.Module):
    """v1.0: wo(relu(wi x)). v1.1: wo(gelu(wi_0 x) * wi_1 x), GELU in its tanh form."""

    def __init__(self, config):
        super().__init__()
        D = config.d_model
        self.gated = config.feed_forward_proj == "gated-gelu"
        if self.gated:
            self.wi_0 = nn.Linear(D, config.d_ff, bias=False)
            self.wi_1 = nn.Linear(D, config.d_ff, bias=False)
        else:
            self.wi = nn.Linear(D, config.d_ff, bias=False)
        self.wo = nn.Linear(config.d_ff, D, bias=False)
        self.dropout = nn.Dropout(0.0)

    def forward(self, x):
        if self.gated:
            hidden = F.gelu(self.wi_0(x), approximate="tanh") * self.wi_1(x)  # (B, S, F)
        else:
            hidden = F.relu(self.wi(x))
        hidden = self.dropout(hidden)
        if hidden.dtype == torch.float16:
            # In t5-base and larger models this product exceeds 65504, fp16's largest number.
            with torch.autocast(hidden.device.type, enabled=False):
                return F.linear(hidden.float(), self.wo.weight.float())
        return self.wo(hidden)


class Block(nn.Module):
    """Self-attention, cross-attention (in the decoder only), feed-forward.

    Each of them reads a normalised copy of x and adds its result to x. So x runs through all
    blocks as one sum, the residual stream.
    """

    def __init__(self, config, decoder):
        super().__init__()
        self.decoder = decoder
        self.self_norm = RMSNorm(config)
        self.self_attention = Attention(config)
        if decoder:
            self.cross_norm = RMSNorm(config)
            self.cross_attention = Attention(config)
        self.ff_norm = RMSNorm(config)
        self.ff = FeedForward(config)
        self.dropout = nn.Dropout(0.0)

    def forward(self, x, bias, memory=None, memory_bias=None):
        """x (B, T, D) -> (B, T, D); the decoder's blocks also read memory (B, S, D)."""
        normed = self.self_norm(x)
        x = x + self.dropout(self.self_attention(normed, normed, bias))
        if self.decoder:
            x = x + self.dropout(self.cross_attention(self.cross_norm(x), memory, memory_bias))
        return x + self.dropout(self.ff(self.ff_norm(x)))


class Stack(nn.Module):
    """The encoder or the decoder: its blocks, its table of position biases, its last norm."""

    def __init__(self, config, decoder):
        super().__init__()
        depth = config.num_decoder_layers if decoder else config.num_layers
        self.blocks = nn.ModuleList(Block(config, decoder) for _ in range(depth))
        self.position_bias = RelativeBias(config, bidirectional=not decoder)
        self.norm = RMSNorm(config)
        self.dropout = nn.Dropout(0.0)

    def forward(self, x, bias, memory=None, memory_bias=None):
        x = self.dropout(x.float())  # the residual stream is in fp32, whatever the weights are in
        for block in self.blocks:
            x = block(x, bias, memory, memory_bias)
        return self.dropout(self.norm(x))


# ------------------------------------------------------------------ the model


class T5(nn.Module):
    """A T5 of the sizes in `config`. Its weights come from `load`, or from `initialise`.

    amp           torch.bfloat16 or torch.float16: matrix products are in that type (automatic mixed
                  precision). None: they are in the weights' type. In both cases the residual
                  stream and the mean inside a norm are in fp32, and the output of a norm is in the
                  type of its weights
    fingerprint   a checksum of the configuration and all weights, set with the weights

    Dropout is 0 until `set_dropout`. It acts in train() mode only.
    """

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.amp = None
        self.shared = embedding(config.vocab_size, config.d_model)
        self.encoder = Stack(config, decoder=False)
        self.decoder = Stack(config, decoder=True)
        self.lm_head = nn.Linear(config.d_model, config.vocab_size, bias=False)
        self.tie_weights()

    def tie_weights(self):
        """In a tied T5 the output layer is the embedding: one parameter under two names."""
        if self.config.tie_word_embeddings:
            self.lm_head.weight = self.shared.weight

    def set_dropout(self, p):
        """Set the probability p of every dropout layer."""
        for module in self.modules():
            if isinstance(module, nn.Dropout):
                module.p = p

    @property
    def device(self):
        return self.shared.weight.device

    def autocast(self):
        if self.amp is None:
            return nullcontext()
        return torch.autocast(self.device.type, self.amp)

    def embed(self, ids):
        """Token ids (B, S) -> their vectors (B, S, D)."""
        return self.shared(ids)

    def encode(self, embedded, mask):
        """Run the encoder. It takes vectors, not ids, so that prompts can be among them.

        embedded (B, S, D); mask (B, S), true where there is a token or a prompt vector.
        Returns the memory, the encoder's last hidden states (B, S, D). The first column is
        position 0.
        """
        if mask.shape != embedded.shape[:2]:
            raise ValueError(f"mask {tuple(mask.shape)} does not fit {tuple(embedded.shape)}")
        S = embedded.shape[1]
        positions = torch.arange(S, device=embedded.device)
        with self.autocast():
            bias = self.encoder.position_bias(positions, positions)  # (1, H, S, S)
            bias = bias.masked_fill(~mask.bool()[:, None, None], MASKED)  # (B, H, S, S)
            return self.encoder(embedded, bias)

    def decode_hidden(self, decoder_ids, memory, mask, unseen=False):
        """The decoder's last hidden states, (B, T, D): `decode` without the output layer.

        unseen (T, T): true where a token (row) must not see another (column), beside the future.
        """
        if len(decoder_ids) != len(memory):
            raise ValueError(f"{len(decoder_ids)} decoder rows for {len(memory)} inputs")
        positions = torch.arange(decoder_ids.shape[1], device=memory.device)
        future = positions[None, :] > positions[:, None]  # (T, T)
        with self.autocast():
            bias = self.decoder.position_bias(positions, positions)  # (1, H, T, T)
            bias = bias.masked_fill(future | unseen, MASKED)
            # Cross-attention has no position bias; only padding is masked.
            memory_bias = MASKED * (~mask.bool())[:, None, None]  # (B, 1, 1, S)
            return self.decoder(self.embed(decoder_ids), bias, memory, memory_bias)

    def logits(self, hidden):
        """The output layer: decoder states (B, T, D) -> logits (B, T, V).

        A tied output layer is the embedding E, whose numbers start with variance 1 (`initialise`).
        A state has unit variance after the last norm, so var(state . E_v) = D * 1 * 1. Scaled by
        D^-0.5, the logits start with unit variance. An untied output layer has this factor in its
        weights.
        """
        if self.config.tie_word_embeddings:
            hidden = hidden * self.config.d_model ** -0.5
        with self.autocast():
            return self.lm_head(hidden)

    def decode(self, decoder_ids, memory, mask):
        """Logits of every next token (teacher forcing): (B, T, V).

        decoder_ids (B, T) start with pad, as `shift_right` makes them. memory (B, S, D) is the
        output of `encode`, mask (B, S) its mask.
        """
        return self.logits(self.decode_hidden(decoder_ids, memory, mask))

    def forward(self, embedded, mask, decoder_ids):
        """Run the encoder and the decoder: the memory (B, S, D) and the logits (B, T, V)."""
        memory = self.encode(embedded, mask)
        return memory, self.decode(decoder_ids, memory, mask)

    def score_labels(self, memory, mask, labels):
        """log p(label | input) of every label for every input, eos included: (B, L).

        labels (L, T): token ids that end in eos, padded. A score is the sum over the label's
        tokens, not divided by their number: it is the log-probability of exactly this text. So
        short labels have an advantage. Behind a trained prompt this advantage is small, because T5
        is nearly certain of all tokens after the first.
        """
        # All labels of an input stand in one decoder row, one behind the other, U tokens together:
        #     input    <pad>    neutral   <pad>   entail  ment
        #     target   neutral  </s>      entail  ment    </s>
        #     label    0        0         1       1       1
        # No token sees another label's. Then it does not matter where in the row a label begins,
        # because T5 knows distances only.
        is_token = labels != PAD
        label = is_token.nonzero()[:, 0]  # (U,)
        is_other = label[None, :] != label[:, None]  # (U, U)
        decoder_ids = shift_right(labels)[is_token].expand(len(memory), -1)  # (U,) -> (B, U)
        targets = labels[is_token].expand(len(memory), -1)
        hidden = self.decode_hidden(decoder_ids, memory, mask, unseen=is_other)
        log_probs = target_log_probs(self.logits(hidden), targets)  # (B, U)
        return log_probs @ F.one_hot(label, len(labels)).float()  # the sum of each label: (B, L)

    @torch.no_grad()
    def generate(self, memory, mask, max_tokens):
        """Greedy generation: ids (B, <= max_tokens), each row up to its eos, then pad."""
        cache = DecoderCache(self, memory, mask)
        token = torch.full((len(memory), 1), PAD, device=memory.device)
        ended = torch.zeros_like(token, dtype=torch.bool)
        tokens = []
        while len(tokens) < max_tokens and not ended.all():
            logits = cache.next_logits(token)  # (B, 1, V)
            token = logits.argmax(-1).masked_fill(ended, PAD)  # (B, 1)
            ended = ended | (token == EOS)
            tokens.append(token)
        return torch.cat(tokens, dim=1)


class DecoderCache:
    """Decoding token by token, where each call reuses what earlier calls have computed.

    For each block it stores the keys and values of the memory and of the tokens so far. In eval()
    mode the logits are those of T5.decode (tests/test_model.py compares them). Dropout is not
    supported.
    """

    def __init__(self, t5, memory, mask):
        self.t5 = t5
        self.memory_bias = MASKED * (~mask.bool())[:, None, None]  # (B, 1, 1, S)
        with t5.autocast():
            self.cross = [block.cross_attention.keys_values(memory) for block in t5.decoder.blocks]
        self.length = 0  # tokens so far
        self.past = [None] * len(self.t5.decoder.blocks)

    def next_logits(self, tokens):
        """The next token (B, 1) of each row -> the logits (B, 1, V) of the token after it."""
        decoder = self.t5.decoder
        positions = torch.arange(self.length + 1, device=tokens.device)
        with self.t5.autocast():
            bias = decoder.position_bias(positions[-1:], positions)  # the new token sees all
            x = self.t5.embed(tokens).float()  # (B, 1, D)
            for i, block in enumerate(decoder.blocks):
                normed = block.self_norm(x)
                keys, values = self.extended(i, *block.self_attention.keys_values(normed))
                x = x + block.self_attention.attend(normed, keys, values, bias)
                normed = block.cross_norm(x)
                x = x + block.cross_attention.attend(normed, *self.cross[i], self.memory_bias)
                x = x + block.ff(block.ff_norm(x))
            hidden = decoder.norm(x)
        self.length += 1
        return self.t5.logits(hidden)

    def extended(self, i, keys, values):
        """Add the new keys and values (B, H, 1, K) of block i to the stored ones; return all."""
        if self.past[i] is not None:
            keys = torch.cat([self.past[i][0], keys], dim=2)
            values = torch.cat([self.past[i][1], values], dim=2)
        self.past[i] = keys, values
        return keys, values


# ------------------------------------------------------- token ids and targets


def pad(rows, multiple=1):
    """Lists of token ids -> ids (B, S), padded on the right to a multiple of `multiple`.

    >>> pad([[5, 6, 1], [7, 1]]).tolist()
    [[5, 6, 1], [7, 1, 0]]
    >>> pad([[5, 6, 1]], multiple=4).tolist()
    [[5, 6, 1, 0]]
    """
    longest = max(len(row) for row in rows)
    width = math.ceil(longest / multiple) * multiple
    return torch.tensor([[*row] + [PAD] * (width - len(row)) for row in rows])


def shift_right(targets):
    """Decoder inputs for targets (B, T): pad in front, the last token dropped.

    >>> shift_right(torch.tensor([[8, 9, 1]])).tolist()
    [[0, 8, 9]]
    """
    return F.pad(targets, (1, 0), value=PAD)[:, :-1]


def target_log_probs(logits, targets):
    """log p of each target token: logits (B, T, V), targets (B, T) -> (B, T), 0 at padding."""
    losses = F.cross_entropy(
        logits.float().flatten(0, 1), targets.flatten(), ignore_index=PAD, reduction="none")
    return -losses.view(targets.shape)  # (B * T,) -> (B, T)


# ------------------------------------------------------------ the checkpoint


def published_weights(t5):
    """All weights, named as in the published files; without the output layer if it is tied."""
    weights = {}
    for name, weight in t5.state_dict().items():
        if name == "lm_head.weight" and t5.config.tie_word_embeddings:
            continue
        weights[checkpoint.published_name(name)] = weight
    return weights


def load(folder, dtype=torch.float32, device="cpu"):
    """A frozen T5 from a folder with config.json and the weights.

    The weights are in `dtype` on `device`; for fp16, `wo` stays in fp32 (see FeedForward). Raises
    ValueError with the name of every tensor that does not fit.
    """
    config = Config.read(folder)
    with torch.device("meta"):  # shapes only, no memory for weights that are overwritten anyway
        t5 = T5(config)
    shapes = {name: tuple(weight.shape) for name, weight in published_weights(t5).items()}
    tensors = checkpoint.read_weights(folder, shapes, config.tie_word_embeddings)
    t5.fingerprint = checkpoint.fingerprint(dataclasses.asdict(config), tensors)
    weights = {}
    for name in t5.state_dict():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            weights[name] = weights["shared.weight"]
            continue
        keeps_fp32 = dtype == torch.float16 and name.endswith("wo.weight")
        tensor = tensors[checkpoint.published_name(name)]
        weights[name] = tensor.to(device, torch.float32 if keeps_fp32 else dtype)
    t5.load_state_dict(weights, assign=True)
    t5.tie_weights()  # load_state_dict has made two parameters of the tied one
    t5.amp = None if dtype == torch.float32 else dtype
    return t5.requires_grad_(False).eval()


def save(t5, folder):
    """Write config.json and model.safetensors in the published format. Returns the fingerprint."""
    return checkpoint.write(folder, dataclasses.asdict(t5.config), published_weights(t5))


def initialise(config, seed=0):
    """A T5 with random weights, all trainable.

    A product starts with unit variance if its inputs do: its weights have a variance of
    1 / (number of inputs), for q times 1 / K (see Attention). The position table is as in T5's
    code.
    """
    t5 = T5(config)
    D = config.d_model
    inner = config.num_heads * config.d_kv
    deviation = {
        "shared": 1.0, "lm_head": D ** -0.5, "table": D ** -0.5,
        "q": (D * config.d_kv) ** -0.5, "k": D ** -0.5, "v": D ** -0.5, "o": inner ** -0.5,
        "wi": D ** -0.5, "wi_0": D ** -0.5, "wi_1": D ** -0.5, "wo": config.d_ff ** -0.5}
    generator = torch.Generator().manual_seed(seed)
    for name, weight in t5.named_parameters():
        if weight.dim() == 2:  # the norms stay at 1
            layer = name.split(".")[-2]
            weight.data.normal_(0, deviation[layer], generator=generator)
    t5.fingerprint = checkpoint.fingerprint(dataclasses.asdict(config), published_weights(t5))
    return t5.eval()


def wrong_flags(message):
    raise ValueError(f"{message}; --help lists all flags")


def main():
    parser = argparse.ArgumentParser(description="Print what a T5 answers to a text.")
    parser.error = wrong_flags
    parser.add_argument("folder", help="a T5: config.json, weights and spiece.model")
    parser.add_argument("text", help="the input text")
    parser.add_argument("--max-tokens", type=int, default=40, help="longest answer (default: 40)")
    args = parser.parse_args()
    if args.max_tokens < 1:
        raise ValueError(f"--max-tokens is {args.max_tokens}, wanted 1 or more")
    folder = Path(args.folder).expanduser()
    tokenizer = Tokenizer(folder / "spiece.model")
    t5 = load(folder)
    ids = torch.tensor([tokenizer.encode(args.text)])
    mask = ids != PAD
    memory = t5.encode(t5.embed(ids), mask)
    if not memory.isfinite().all():
        raise ValueError(f"{folder}: the encoder's states are not finite: its weights are damaged")
    [answer] = t5.generate(memory, mask, args.max_tokens)
    print(tokenizer.decode(answer.tolist()))


if __name__ == "__main__":
    try:
        main()
    except ValueError as error:
        print(f"model.py: {error}", file=sys.stderr)
        sys.exit(2)
