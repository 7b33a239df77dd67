"""T5, written by hand: the frozen model behind every prompt.

    ids (B, S) ─embed─► (B, S, D) ─encode─► memory (B, S, D) ─┐
                        ▲ prompts are put in front here       ├─decode─► logits (B, T, V)
    decoder ids (B, T) ───────────────────────────────────────┘

This file has the layers, the two stacks, and what is asked of a frozen model: the score of a
label and a greedy continuation. Both kinds of published checkpoints run:

    v1.0   t5-small, t5-base, …: ReLU feed-forward, tied embedding (the output layer is the
           embedding again, and its input is scaled by D^-0.5)
    v1.1   google/t5-v1_1-*, google/t5-*-lm-adapt, google/flan-t5-*: gated GELU feed-forward,
           an output layer of its own

Source: Raffel et al. 2020, "Exploring the Limits of Transfer Learning with a Unified Text-to-Text
Transformer", section 2.1, and the published checkpoints. Three habits of T5 that other transformers
do not have: attention is not scaled by K^-0.5; positions enter only as a learned number added to
the attention scores, one table for a whole stack; and nothing has a bias or a mean subtracted.

Left out: beam search and sampling, and a model split over several devices.

    python model.py toy/t5 "nli sentence1: old cats chased dogs . sentence2: cats chased dogs ."

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
    def read(cls, folder):
        """From a checkpoint's config.json. Raises ValueError if it is not that of a T5 we know."""
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
        # The mean always in fp32: squares of bf16 numbers lose too much in it.
        scale = torch.rsqrt(x.float().pow(2).mean(-1, keepdim=True) + self.eps)
        return (x * scale).to(self.weight.dtype) * self.weight


def relative_bucket(distance, bidirectional, buckets=32, max_distance=128):
    """The bucket of each distance (key position - query position): integers, any shape.

    Half of the buckets hold one distance each, the other half grow with its logarithm. The last
    begins somewhat below max_distance (encoder: 91 of 128) and holds all that is farther, too. The
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
    log_ratio = torch.log(distance.clamp(min=1).float() / exact) / math.log(max_distance / exact)
    far = exact + (log_ratio * (buckets - exact)).long()
    far = far.clamp(max=buckets - 1)
    return bucket + torch.where(distance < exact, distance, far)


class RelativeBias(nn.Module):
    """One learned number per bucket and head, shared by all blocks of a stack.

    All that T5 knows of positions is these distances. A prompt of P vectors takes the
    encoder's positions 0 to P - 1 and the text follows (P = 3, S = 4 here):

        position      0   1   2 │ 3   4    5   6
                      p   p   p │ old cats …   </s>
        distance from "cats" to the prompt      -4 -3 -2     (key minus query)
                             to the text        -1  0 +1 +2
        distance from "cats" to "old", with or without the prompt:    -1

    So a prompt shifts the text without changing any distance inside it: that is why a
    frozen T5 still reads the text behind a prompt that it never saw. What changes with P is
    how far a word is from the first vectors of the prompt. Below 8 every distance has a
    bucket of its own. Beyond that they share buckets, wider and wider ones; from 91 on
    (8 * 16^(7/8), where the last one begins) they are all one.
    """

    def __init__(self, config, bidirectional):
        super().__init__()
        self.table = nn.Embedding(config.relative_attention_num_buckets, config.num_heads)
        self.max_distance = config.relative_attention_max_distance
        self.bidirectional = bidirectional

    def forward(self, queries, keys):
        """For positions queries (T,) and keys (S,): what to add to the scores, (1, H, T, S)."""
        distance = keys[None, :] - queries[:, None]  # (T, S)
        buckets = self.table.num_embeddings
        bucket = relative_bucket(distance, self.bidirectional, buckets, self.max_distance)
        return self.table(bucket).permute(2, 0, 1)[None]  # (T, S, H) -> (1, H, T, S)


class Attention(nn.Module):
    """softmax(q k^T + bias) v over H heads of size K, from x to memory.

    Where other transformers divide q k^T by sqrt(K), T5 does not: it drew the weights of q smaller
    by as much. With x of unit variance (by its norm), q's weights of variance 1/(DK), k's of 1/D,

        var(q_i) = D * 1/(DK) = 1/K     var(k_i) = D * 1/D = 1     var(q . k) = K * 1/K * 1 = 1

    and training started from scores of unit size as they are. The published checkpoints were
    trained without a division, so a division now would flatten every attention of theirs.
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
        self.dropout = nn.Dropout(0.0)

    def to_heads(self, x):
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, S, H*K) -> (B, H, S, K)

    def keys_values(self, memory):
        """(B, S, D) -> keys and values, each (B, H, S, K)."""
        return self.to_heads(self.k(memory)), self.to_heads(self.v(memory))

    def attend(self, x, keys, values, bias):
        """x (B, T, D) asks keys and values (B, H, S, K); bias broadcasts to (B, H, T, S)."""
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
            # fp16 ends at 65504, which this product exceeds from t5-base on: stay in fp32.
            with torch.autocast(hidden.device.type, enabled=False):
                return F.linear(hidden.float(), self.wo.weight.float())
        return self.wo(hidden)


class Block(nn.Module):
    """Self-attention, in the decoder cross-attention, feed-forward.

    Each reads a normalised copy of the stream x, and its result is added to the stream.
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
    """The encoder or the decoder: its blocks, its one table of positions, its last norm."""

    def __init__(self, config, decoder):
        super().__init__()
        depth = config.num_decoder_layers if decoder else config.num_layers
        self.blocks = nn.ModuleList(Block(config, decoder) for _ in range(depth))
        self.position_bias = RelativeBias(config, bidirectional=not decoder)
        self.norm = RMSNorm(config)
        self.dropout = nn.Dropout(0.0)

    def forward(self, x, bias, memory=None, memory_bias=None):
        x = self.dropout(x.float())  # the stream adds up in fp32, whatever the weights are in
        for block in self.blocks:
            x = block(x, bias, memory, memory_bias)
        return self.dropout(self.norm(x))


# ------------------------------------------------------------------ the model


class T5(nn.Module):
    """A T5 of the sizes in `config`. Its weights come from `load`, or from `initialise`.

    amp   torch.bfloat16 or torch.float16: products in that type (automatic mixed precision); None:
          products in the weights' own type. The stream, and the mean square inside a norm, are in
          fp32 either way; what a norm gives is in the type of its weights
    fingerprint   a checksum of the configuration and all weights
    Dropout is 0 until `set_dropout`, and then acts in train() mode only.
    """

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.amp = None
        self.shared = nn.Embedding(config.vocab_size, config.d_model)
        self.encoder = Stack(config, decoder=False)
        self.decoder = Stack(config, decoder=True)
        self.lm_head = nn.Linear(config.d_model, config.vocab_size, bias=False)
        self.tie_weights()

    def tie_weights(self):
        """In a tied T5 the output layer is the embedding: one parameter under two names."""
        if self.config.tie_word_embeddings:
            self.lm_head.weight = self.shared.weight

    def set_dropout(self, p):
        """Give every dropout of this T5 the share p of numbers to drop."""
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
        """Run the encoder on vectors, so that prompts can stand among them.

        embedded (B, S, D); mask (B, S), true where there is a token or a prompt
        vector. Returns the memory (B, S, D). Positions count from the first column.
        """
        if mask.shape != embedded.shape[:2]:
            raise ValueError(f"mask {tuple(mask.shape)} does not fit {tuple(embedded.shape)}")
        S = embedded.shape[1]
        positions = torch.arange(S, device=embedded.device)
        with self.autocast():
            bias = self.encoder.position_bias(positions, positions)  # (1, H, S, S)
            bias = bias.masked_fill(~mask.bool()[:, None, None], MASKED)  # (B, H, S, S)
            return self.encoder(embedded, bias)

    def decode_hidden(self, decoder_ids, memory, mask):
        """The decoder's last hidden states, (B, T, D): `decode` without the output layer."""
        if len(decoder_ids) != len(memory):
            raise ValueError(f"{len(decoder_ids)} decoder rows for {len(memory)} inputs")
        T = decoder_ids.shape[1]
        positions = torch.arange(T, device=memory.device)
        future = positions[None, :] > positions[:, None]  # (T, T)
        with self.autocast():
            bias = self.decoder.position_bias(positions, positions)  # (1, H, T, T)
            bias = bias.masked_fill(future, MASKED)
            # Cross-attention has no positions at all, only the padding to avoid.
            memory_bias = MASKED * (~mask.bool())[:, None, None]  # (B, 1, 1, S)
            return self.decoder(self.embed(decoder_ids), bias, memory, memory_bias)

    def logits(self, hidden):
        """The output layer: decoder states (B, T, D) -> logits (B, T, V).

        A tied output layer is the embedding E, whose numbers start with variance 1, as its rows
        must also serve as inputs of that size. A state has unit size after the last norm, so
        var(state . E_v) = D * 1 * 1: times D^-0.5 the logits start at unit size.
        """
        if self.config.tie_word_embeddings:
            hidden = hidden * self.config.d_model ** -0.5
        with self.autocast():
            return self.lm_head(hidden)

    def decode(self, decoder_ids, memory, mask):
        """Logits for every next token, teacher-forced: (B, T, V).

        decoder_ids (B, T) already start with pad; memory (B, S, D) and mask (B, S) are those
        of `encode`.
        """
        return self.logits(self.decode_hidden(decoder_ids, memory, mask))

    def forward(self, embedded, mask, decoder_ids):
        """Both stacks: the memory (B, S, D) and the logits (B, T, V)."""
        memory = self.encode(embedded, mask)
        return memory, self.decode(decoder_ids, memory, mask)

    def score_labels(self, memory, mask, labels):
        """log p(label | input) of every label for every input, eos counted: (B, L).

        labels (L, T): token ids that end in eos, padded. The sum over a label's tokens is not
        divided by its length: it is the probability of just this text. Behind a trained prompt T5
        is nearly certain of a label's tokens after the first, so that its length hardly counts;
        before, short labels are at an advantage.
        """
        scores = []
        cache = DecoderCache(self, memory, mask)
        for label in labels:
            tokens = label[label != PAD]  # (T,), without the padding to the longest label
            targets = tokens.expand(len(memory), -1)  # (T,) -> (B, T)
            cache.restart()
            logits = cache.next_logits(shift_right(targets))  # (B, T, V)
            scores.append(target_log_probs(logits, targets).sum(1))  # (B,)
        return torch.stack(scores, dim=1)

    @torch.no_grad()
    def generate(self, memory, mask, max_tokens):
        """The greedy continuation: ids (B, <= max_tokens), each row with its eos, then pad."""
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
    """Decoding in several calls, without computing again what earlier calls have computed.

    For each block it keeps the keys and values of the memory, and of the tokens so far. In eval()
    mode the numbers are those of T5.decode (tests/test_model.py compares them). It is not made for
    dropout.
    """

    def __init__(self, t5, memory, mask):
        self.t5 = t5
        self.memory_bias = MASKED * (~mask.bool())[:, None, None]  # (B, 1, 1, S)
        with t5.autocast():
            self.cross = [block.cross_attention.keys_values(memory) for block in t5.decoder.blocks]
        self.restart()

    def restart(self):
        """Forget the tokens, and keep what belongs to the memory."""
        self.length = 0  # tokens so far
        self.past = [None] * len(self.t5.decoder.blocks)

    def next_logits(self, tokens):
        """tokens (B, T), the next of each row -> logits (B, T, V) of the one after each."""
        decoder = self.t5.decoder
        positions = torch.arange(self.length + tokens.shape[1], device=tokens.device)
        new = positions[self.length:]  # (T,)
        future = positions[None, :] > new[:, None]  # (T, length + T)
        with self.t5.autocast():
            bias = decoder.position_bias(new, positions).masked_fill(future, MASKED)
            x = self.t5.embed(tokens).float()  # (B, T, D)
            for i, block in enumerate(decoder.blocks):
                normed = block.self_norm(x)
                keys, values = self.extended(i, *block.self_attention.keys_values(normed))
                x = x + block.self_attention.attend(normed, keys, values, bias)
                normed = block.cross_norm(x)
                x = x + block.cross_attention.attend(normed, *self.cross[i], self.memory_bias)
                x = x + block.ff(block.ff_norm(x))
            hidden = decoder.norm(x)
        self.length = len(positions)
        return self.t5.logits(hidden)

    def extended(self, i, keys, values):
        """Block i's keys and values of all tokens so far, the T new ones (B, H, T, K) included."""
        if self.past[i] is not None:
            keys = torch.cat([self.past[i][0], keys], dim=2)
            values = torch.cat([self.past[i][1], values], dim=2)
        self.past[i] = keys, values
        return keys, values


# ------------------------------------------------------- token ids and targets


def pad(rows, multiple=1):
    """Lists of token ids -> ids (B, S), filled up with pad on the right to a multiple.

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
    """All weights of a T5 under the names of the published files; a tied one's head is left out."""
    weights = {}
    for name, weight in t5.state_dict().items():
        if name == "lm_head.weight" and t5.config.tie_word_embeddings:
            continue
        weights[checkpoint.published_name(name)] = weight
    return weights


def load(folder, dtype=torch.float32, device="cpu"):
    """A frozen T5 from a folder with config.json and the weights.

    In `dtype` on `device`; under fp16 `wo` stays in fp32 (see FeedForward). Raises ValueError
    that names every tensor that does not fit.
    """
    config = Config.read(folder)
    with torch.device("meta"):  # shapes only: no memory is taken for random weights
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
    t5.tie_weights()  # assign has made two parameters of the two names
    t5.amp = None if dtype == torch.float32 else dtype
    return t5.requires_grad_(False).eval()


def save(t5, folder):
    """Write config.json and model.safetensors, as published. Returns the fingerprint."""
    return checkpoint.write(folder, dataclasses.asdict(t5.config), published_weights(t5))


def initialise(config, seed=0):
    """A T5 with random weights, on the scales of the T5 paper's own code, all trainable."""
    t5 = T5(config)
    D = config.d_model
    inner = config.num_heads * config.d_kv
    deviation = {
        "shared": 1.0, "lm_head": 1.0, "table": D ** -0.5,
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
    parser = argparse.ArgumentParser(description="What a T5 writes after a text.")
    parser.error = wrong_flags
    parser.add_argument("folder", help="a T5: config.json, weights and spiece.model")
    parser.add_argument("text", help="what it reads")
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
        raise ValueError(f"{folder}: what this T5 reads is no number: its weights are damaged")
    [answer] = t5.generate(memory, mask, args.max_tokens)
    print(tokenizer.decode(answer.tolist()))


if __name__ == "__main__":
    try:
        main()
    except ValueError as error:
        print(f"model.py: {error}", file=sys.stderr)
        sys.exit(2)
