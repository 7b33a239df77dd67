"""T5, written by hand: the frozen model behind every prompt.

    ids (B, S) ─embed─► (B, S, D) ─encode─► memory (B, S, D) ─┐
                        ▲ prompts are put in front here       ├─decode─► logits (B, T, V)
    decoder ids (B, T) ───────────────────────────────────────┘

Here are the layers, the two stacks, and what a frozen model is asked for: the score of a label, a
greedy continuation. Both kinds of the published checkpoints run:

    v1.0   t5-small, t5-base, …: ReLU feed-forward, tied embedding (the output layer is the
           embedding again, and its input is scaled by D^-0.5)
    v1.1   google/t5-v1_1-*, google/t5-*-lm-adapt, google/flan-t5-*: gated GELU feed-forward,
           an output layer of its own

Source: Raffel et al. 2020, "Exploring the Limits of Transfer Learning with a Unified Text-to-Text
Transformer", section 2.1, and the published checkpoints. Three habits of T5 that other transformers
do not have: attention is not scaled by K^-0.5; positions enter only as a learned number added to
the attention scores, one table for a whole stack; and nothing has a bias or a mean subtracted.

Left out: beam search and sampling, and a model cut over several devices. A checkpoint's files
are read by plumbing/checkpoint.py; the command, plumbing/show.py, asks what T5 writes:

    python model.py toy/t5 "nli sentence1: old cats chased dogs . sentence2: cats chased dogs ."

Dimensions, the same letters in every file of this project:
    B batch        S source tokens   T target tokens   P prompt length
    D model        H heads           K head size       F feed-forward
    V vocabulary   N prompts in a bank   L labels of a task
"""

import plumbing  # noqa: F401: first, and Ctrl-C is one line from here on
import dataclasses
import math
from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint as checkpoint_of

from plumbing import checkpoint, command, gpu, show
from plumbing.product import Linear, Norm, Rectified, Table, by_head, frozen, product
from plumbing.tokenizer import EOS, PAD, Tokenizer, pad  # noqa: F401

# Added to the score of a key that may not be seen. Finite, so that a row with no
# visible key gives numbers and not NaN; within what fp16 can hold (-65504).
MASKED = -3e4
SHORT = 64  # keys up to which attention is faster with all of its scores in memory, on a CPU


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
        if frozen(x, self.weight):  # the same, with its gradient by hand
            return Norm.apply(x, self.weight, self.eps)
        if gpu.is_one(x.device):  # the same, in one operation
            return gpu.rms_norm(x, self.weight, self.eps)
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
    how far a word is from the first vectors of the prompt: below 8 every distance has a
    bucket of its own, beyond that they share buckets, and from 91 on they are all one.
    """

    def __init__(self, config, bidirectional):
        super().__init__()
        self.table = Table(config.relative_attention_num_buckets, config.num_heads)
        self.max_distance = config.relative_attention_max_distance
        self.bidirectional = bidirectional

    def forward(self, queries, keys):
        """For positions queries (T,) and keys (S,): what to add to the scores, (1, H, T, S)."""
        distance = keys[None, :] - queries[:, None]  # (T, S)
        bucket = relative_bucket(distance, self.bidirectional, self.table.num_embeddings,
                                 self.max_distance)
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
        D, inner = config.d_model, config.num_heads * config.d_kv
        self.heads = config.num_heads
        self.q, self.k, self.v = (Linear(D, inner) for _ in range(3))
        self.o = Linear(inner, D)

    def to_heads(self, x):
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, S, H*K) -> (B, H, S, K)

    def keys_values(self, memory):
        """(B, S, D) -> keys and values, each (B, H, S, K)."""
        return self.to_heads(self.k(memory)), self.to_heads(self.v(memory))

    def forward(self, x, keys, values, bias, dropout=0.0):
        """x (B, T, D) asks keys and values (B, H, S, K); bias broadcasts to (B, H, T, S)."""
        out = self.attend(self.to_heads(self.q(x)), keys, values, bias, dropout)
        return self.o(out.transpose(1, 2).flatten(2))  # (B, H, T, K) -> (B, T, H*K) -> (B, T, D)

    def attend(self, q, keys, values, bias, dropout=0.0):
        """softmax(q k^T + bias) v, q (B, H, T, K); beyond SHORT keys without keeping the scores."""
        if frozen(q, self.o.weight) and keys.shape[2] <= SHORT:
            # Contiguous, or how they lie, and with it the rounding, depends on B (cores.apart).
            scores = q.contiguous() @ keys.contiguous().transpose(2, 3) + bias  # (B, H, T, S)
            return F.dropout(scores.softmax(-1), dropout) @ values.contiguous()
        return F.scaled_dot_product_attention(q, keys, values, attn_mask=bias.to(q.dtype),
                                              dropout_p=dropout, scale=1.0)

    def absorbed(self, x, memory, bias, dropout=0.0):
        """The same for few queries x (B, T, D) to a long memory (B, S, D), without its keys.

        q . (Wk m) is (Wk^T q) . m, and a weighted sum of Wv m is Wv times that sum of m: T queries
        are projected instead of S positions, in each block, there and back.
        """
        to_k, to_v = (one.weight.unflatten(0, (self.heads, -1)) for one in (self.k, self.v))
        asked = by_head(self.to_heads(self.q(x)), to_k.transpose(1, 2))  # (B, H, T, K) to D
        scores = asked.flatten(1, 2) @ memory.transpose(1, 2)  # (B, H*T, S)
        shares = F.dropout((scores + bias[:, 0]).softmax(-1), dropout)  # bias (B, 1, 1, S)
        out = by_head((shares @ memory).view(asked.shape), to_v)  # (B, H, T, K)
        return self.o(out.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """v1.0: wo(relu(wi x)). v1.1: wo(gelu(wi_0 x) * wi_1 x), GELU in its tanh form."""

    def __init__(self, config):
        super().__init__()
        self.gated = config.feed_forward_proj == "gated-gelu"
        for name in ("wi_0", "wi_1") if self.gated else ("wi",):
            setattr(self, name, Linear(config.d_model, config.d_ff))
        self.wo = Linear(config.d_ff, config.d_model)

    def forward(self, x, dropout=0.0):
        if not self.gated and not dropout and frozen(x, self.wi.weight, self.wo.weight):
            return Rectified.apply(x, self.wi.weight, self.wo.weight)  # the same, by hand
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

    How it runs is set on it, and not by train() or eval(); all off at first:
    dropout   the share of numbers dropped (`t5.dropout = 0.1`); 0 gives one answer to one
              input, so that prompts trained together equal prompts trained alone
    amp       torch.bfloat16 or torch.float16: products in that type, what adds up in fp32
              (automatic mixed precision); None: everything in the weights' own type
    recompute whether the backward pass computes each encoder block again instead of keeping what
              it needs of it (Chen et al. 2016): slower, for a part of the memory
    """

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.dropout, self.amp, self.recompute = 0.0, None, False
        self.shared = Table(config.vocab_size, config.d_model)
        self.encoder = Stack(config, decoder=False)
        self.decoder = Stack(config, decoder=True)
        if not config.tie_word_embeddings:
            self.lm_head = Linear(config.d_model, config.vocab_size)

    @property
    def device(self):
        return self.shared.weight.device

    def autocast(self):
        return torch.autocast(self.device.type, self.amp) if self.amp else nullcontext()

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
        p = self.dropout
        at = torch.arange(embedded.shape[1], device=embedded.device)
        with self.autocast():
            bias = self.encoder.positions(at, at).masked_fill(~mask.bool()[:, None, None], MASKED)
            x = F.dropout(embedded.float(), p)  # what adds up stays in fp32; bias is (B, H, S, S)
            for block in self.encoder.blocks:
                if self.recompute and x.requires_grad:
                    x = checkpoint_of(self.encoder_block, block, x, bias, use_reentrant=False)
                else:
                    x = self.encoder_block(block, x, bias)
            return F.dropout(self.encoder.norm(x), p)

    def encoder_block(self, block, x, bias):
        p, normed = self.dropout, block.self_norm(x)
        keys, values = block.self_attention.keys_values(normed)
        x = x + F.dropout(block.self_attention(normed, keys, values, bias, p), p)
        return x + F.dropout(block.ff(block.ff_norm(x), p), p)

    def forward(self, embedded, mask, decoder_ids):
        """The memory (B, S, D) and the decoder's states (B, T, D)."""
        memory = self.encode(embedded, mask)
        return memory, self.decoder_states(decoder_ids, memory, mask)

    def decode(self, decoder_ids, memory, mask, cache=None):
        """Logits for every next token, teacher-forced.

        decoder_ids (B, T) already start with pad; memory (B, S, D) and mask (B, S) are those
        of `encode`. With a `cache` (an empty list at first) decoder_ids are only the new tokens,
        and the keys and values of the earlier ones come from it. Returns (B, T, V).
        """
        return self.output(self.decoder_states(decoder_ids, memory, mask, cache))

    def output(self, states):
        """Decoder states (B, T, D) -> logits (B, T, V).

        A tied output layer is the embedding E, whose numbers start with variance 1, as its rows
        must also serve as inputs of that size. A state has unit size after the last norm, so
        var(state . E_v) = D * 1 * 1: times D^-0.5 the logits start at unit size.
        """
        with self.autocast():
            if self.config.tie_word_embeddings:
                return product(states * self.config.d_model ** -0.5, self.shared.weight)
            return self.lm_head(states)

    def decoder_states(self, decoder_ids, memory, mask, cache=None, tree=None):
        """What `decode` computes, before the output layer: (B, T, D).

        tree: for tokens that do not stand one after the other, the place of each (T,), and for
        each (a row) the tokens that it sees (T, T).
        """
        if len(decoder_ids) != len(memory):
            raise ValueError(f"{len(decoder_ids)} decoder rows for {len(memory)} inputs")
        T, p = decoder_ids.shape[1], self.dropout
        cache, keep = ([], False) if cache is None else (cache, True)
        past = cache[0]["keys"].shape[2] if cache else 0
        at = torch.arange(past + T, device=memory.device)
        at, seen = tree or (at, at[None, :] <= at[past:, None])  # all but the future
        with self.autocast():
            self_bias = self.decoder.positions(at[past:], at).masked_fill(~seen, MASKED)
            # Cross-attention has no positions at all, only the padding to avoid.
            cross_bias = ~mask.bool()[:, None, None] * MASKED  # (B, 1, 1, S)
            x = F.dropout(self.embed(decoder_ids).float(), p)
            for i, block in enumerate(self.decoder.blocks):
                normed = block.self_norm(x)
                keys, values = block.self_attention.keys_values(normed)
                if i < len(cache):
                    keys = torch.cat([cache[i]["keys"], keys], dim=2)
                    values = torch.cat([cache[i]["values"], values], dim=2)
                x = x + F.dropout(block.self_attention(normed, keys, values, self_bias, p), p)
                normed = block.cross_norm(x)
                if keep or 2 * T > self.config.d_kv:  # else few ask: cheaper without keys
                    cross = (cache[i]["cross"] if i < len(cache) else
                             block.cross_attention.keys_values(memory))
                    answer = block.cross_attention(normed, *cross, cross_bias, p)
                else:
                    answer = block.cross_attention.absorbed(normed, memory, cross_bias, p)
                if keep:
                    cache[i:i + 1] = [{"keys": keys, "values": values, "cross": cross}]
                x = x + F.dropout(answer, p)
                x = x + F.dropout(block.ff(block.ff_norm(x), p), p)
            return F.dropout(self.decoder.norm(x), p)

    def score_labels(self, memory, mask, labels):
        """log p(label | input) of every label for every input, eos counted.

        labels (L, T): token ids that end in eos, padded. Returns (B, L). All labels share one row
        of the decoder: what follows the pad sees it and its own label. "a b </s>" and "c </s>":

            token, its place      pad, 0    a, 1    b, 2    c, 1
            sees                  pad       pad a   pad a b pad c
            tells                 a, c      b       </s>    </s>

        The sum is not divided by a label's length: it is the probability of just this text.
        Trained, T5 is nearly certain of all tokens but the first; untrained, it likes short labels.
        """
        label, place = (labels[:, 1:] != PAD).nonzero(as_tuple=True)  # of all tokens but the last
        ids = F.pad(labels[label, place], (1, 0), value=PAD)
        told_by = torch.zeros_like(labels)  # (L, T): which token of `ids` tells each, first the pad
        told_by[label, place + 1] = torch.arange(1, len(ids), device=ids.device)
        label, place = F.pad(label, (1, 0), value=-1), F.pad(place + 1, (1, 0))
        sees = (label < 0) | (label == label[:, None]) & (place <= place[:, None])
        states = self.decoder_states(ids.expand(len(memory), -1), memory, mask, tree=(place, sees))
        log_probs = self.output(states).float().log_softmax(-1)[:, told_by, labels]  # (B, L, T)
        return log_probs.masked_fill(labels == PAD, 0.0).sum(-1)

    @torch.no_grad()
    def generate(self, memory, mask, max_tokens, use_cache=True):
        """Greedy: ids (B, <= max_tokens), eos, then pad. Without the cache slow, plainly right."""
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
    losses = F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), ignore_index=PAD,
                             reduction="none")  # (B * T,)
    return -losses.view(targets.shape)


# ------------------------------------------------------------ the checkpoint


def load(folder, dtype=torch.float32, device="cpu"):
    """A frozen T5 from a folder with config.json and the weights.

    In `dtype` on `device`, since nothing frozen needs more; under fp16 `wo` stays in fp32 (see
    FeedForward). Raises ValueError that names every tensor that does not fit.
    """
    config = Config.read(folder)
    with torch.device("meta"):  # shapes only: no memory is taken for random weights
        t5 = T5(config)
    wanted = {checkpoint.published_name(name): name for name in t5.state_dict()}
    shapes = {name: tuple(weight.shape) for name, weight in checkpoint.published(t5).items()}
    tensors = checkpoint.fitting(folder, checkpoint.read_tensors(folder), shapes,
                                 config.tie_word_embeddings)
    fp32 = "wo.weight" if dtype == torch.float16 else ()  # the end of names that stay fp32
    weights = checkpoint.placed(tensors, {
        name: torch.float32 if name.endswith(fp32) else dtype for name in wanted}, device)
    t5.load_state_dict({wanted[name]: one for name, one in weights.items()}, assign=True)
    t5.fingerprint = checkpoint.fingerprint(dataclasses.asdict(config), tensors, folder)
    t5.amp = None if dtype == torch.float32 else dtype
    return t5.requires_grad_(False)


def save(t5, folder):
    """Write config.json and model.safetensors, as published, each whole or not at all.

    Returns the fingerprint of what was written.
    """
    return checkpoint.write(folder, dataclasses.asdict(t5.config), checkpoint.published(t5))


def initialise(config, seed=0):
    """A T5 with random weights, on the scales of the T5 paper's own code, all trainable."""
    return checkpoint.draw(T5(config), seed)


if __name__ == "__main__":
    command.run(lambda: show.of_model(load), "model.py")
