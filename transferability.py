"""How well will a prompt transfer? Four measures for a pair of prompts.

Each takes a source prompt and a target prompt, (P, D) each, and gives a similarity
in [-1, 1]. A good measure ranks the sources of a target as transfer itself does.

    e_avg   cosine of the two mean vectors                (Vu et al. 2022, SPoT, section 3)
    e_tok   mean cosine over all P * P pairs of vectors   (Vu et al. 2022)
    on      overlap of the decoder neurons that fire      (Su et al. 2022, section 5)
    panda   cosine of what the frozen model makes of the  (Zhong et al. 2022, section 3)
            same inputs behind the one and the other

PANDA's measure leaves open whose inputs are read, what is pooled, and whether what
the model makes of them without a prompt is taken away first. Here: 100 training
inputs of the target, the decoder's last state at its first position (from which the
answer is read), less that of the promptless model: what every prompt shares with no
prompt at all is no likeness of tasks, and would give unrelated pairs a weight.

What its range looks like: 1 is a prompt and itself. Between a source and a target of the toy
world it is 0.7 to over 0.9 for the closest pairs, 0 to 0.4 for most, and a little below 0 for some
(RESULTS.md, "What transfers": also how badly it ranks sources). Uncentred, the unrelated
prompts of toy-nli and toy-sst2 have 0.28 on toy-cb's inputs, centred -0.15
(tests/test_transferability.py). Lengths do not matter, directions do.

A new measure is one function of (source, target, probe) and one entry in MEASURES: the
flag --metric, the reports and the results read that table.

Dimensions: B batch, S source tokens, P prompt length, D model, F feed-forward.
"""

import dataclasses

import torch
import torch.nn.functional as F

from model import PAD
from plumbing.stats import spearman  # noqa: F401: judges a measure, predicted against found
from prompt import PromptBank


@dataclasses.dataclass
class Probe:
    """What a measure may ask beside the two prompts."""

    t5: object
    ids: torch.Tensor  # (B, S), inputs of the target, padded
    sentinel: int  # the id of <extra_id_0>


def cosine(a, b):
    """Cosine of two vectors, 0 if one of them is zero.

    >>> round(cosine(torch.tensor([1.0, 0.0]), torch.tensor([1.0, 1.0])), 4)
    0.7071
    """
    return F.cosine_similarity(a.float().flatten(), b.float().flatten(), dim=0).item()


def e_avg(source, target, probe=None):
    """Cosine of the prompts' mean vectors.

    >>> source, target = torch.tensor([[1.0, 0], [0, 1.0]]), torch.tensor([[1.0, 0], [1.0, 0]])
    >>> round(e_avg(source, target), 4)
    0.7071
    """
    return cosine(source.mean(0), target.mean(0))


def e_tok(source, target, probe=None):
    """Mean cosine over all pairs of one vector of each prompt.

    >>> e_tok(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[1.0, 0.0], [1.0, 0.0]]))
    0.5
    """
    source, target = F.normalize(source.float(), dim=1), F.normalize(target.float(), dim=1)
    return (source @ target.T).mean().item()  # (P, D) @ (D, P) -> (P, P)


@torch.no_grad()
def active_neurons(t5, prompt, sentinel):
    """Which decoder feed-forward units fire (x > 0) at decoder position 0, all layers: 0s and 1s.

    The input is the prompt and <extra_id_0>, whose id is `sentinel`, without any text.
    """
    fired = []
    first = "wi_0" if t5.config.feed_forward_proj == "gated-gelu" else "wi"
    hooks = [getattr(block.ff, first).register_forward_hook(
        lambda layer, inputs, out: fired.append(out[0, 0] > 0)) for block in t5.decoder.blocks]
    try:
        ids = torch.tensor([[sentinel]], device=t5.device)
        bank = PromptBank([prompt]).to(t5.device)
        embedded, mask = bank.prepend(t5.embed(ids), ids != PAD, torch.zeros_like(ids[0]))
        t5.decode(torch.full_like(ids, PAD), t5.encode(embedded, mask), mask)
    finally:
        for hook in hooks:
            hook.remove()
    return torch.cat(fired).float()


def on(source, target, probe):
    """Cosine of the two prompts' active neurons."""
    return cosine(active_neurons(probe.t5, source, probe.sentinel),
                  active_neurons(probe.t5, target, probe.sentinel))


@torch.no_grad()
def task_embedding(t5, prompt, ids, rows=32):
    """What the model makes of the inputs behind a prompt: a vector (D,).

    The decoder's last state at position 0, averaged over the inputs ids (B, S), which
    are taken `rows` at a time. prompt (P, D), or None for the promptless model.
    """
    total = torch.zeros(t5.config.d_model, device=t5.device)
    for part in ids.to(t5.device).split(rows):
        embedded, mask = t5.embed(part), part != PAD
        if prompt is not None:
            bank = PromptBank([prompt]).to(t5.device)
            embedded, mask = bank.prepend(embedded, mask, torch.zeros_like(part[:, 0]))
        memory = t5.encode(embedded, mask)
        start = torch.full_like(part[:, :1], PAD)
        total += t5.decoder_states(start, memory, mask).float()[:, 0].sum(0)
    return total / len(ids)


def panda(source, target, probe):
    """Cosine of the two task embeddings on the same inputs, centred by the promptless model."""
    neutral = task_embedding(probe.t5, None, probe.ids)
    return cosine(task_embedding(probe.t5, source, probe.ids) - neutral,
                  task_embedding(probe.t5, target, probe.ids) - neutral)


# name -> function(source prompt (P, D), target prompt (P, D), Probe) -> a number in [-1, 1].
MEASURES = {"panda": panda, "on": on, "e_avg": e_avg, "e_tok": e_tok}


def all_measures(source, target, probe):
    """Every measure of a pair of prompts, name -> number."""
    return {name: measure(source, target, probe) for name, measure in MEASURES.items()}
