"""How well will a prompt transfer? Five measures for a pair of prompts.

    python transferability.py PROMPT PROMPT …                      likeness of each with each
    python transferability.py PROMPT PROMPT … --scores scores.json    and whether it ranks sources

Each takes a source prompt and a target prompt, (P, D) each, and gives a number in [-1, 1]. A good
measure ranks the sources of a target as transfer itself does.

    e_avg      cosine of the two mean vectors                (Vu et al. 2022, SPoT, section 3)
    e_tok      mean cosine over all P * P pairs of vectors   (Vu et al. 2022)
    on         overlap of the decoder neurons that fire      (Su et al. 2022, section 5)
    panda      cosine of what the frozen model makes of the  (Zhong et al. 2022, section 3)
               same inputs behind the one and the other
    zero_shot  share of the model's loss on the target that  (pseudo-R²: McFadden 1974)
               the source prompt takes away, just as it is

PANDA's measure leaves open whose inputs are read, what is pooled, and whether what the model makes
of them without a prompt is taken away first: `panda` has a switch for each. By default it reads 100
training inputs of the target, the decoder's last state at its first position (from which the answer
is read), less that of the promptless model: what every prompt shares with no prompt at all is no
likeness of tasks, and would give unrelated pairs a weight. The unrelated toy-nli and toy-sst2 have
0.28 on toy-cb's inputs as they are, centred -0.15 (tests/test_transferability.py).

zero_shot, ours, is no likeness: it asks what transfer starts from, the loss of its first step,
and reads no target prompt. Whatever knows neither the task nor its answers lies a little below 0
or, sure of other answers, far. It rewards the wording, too: toy-rte's prompt has 0.2 on toy-qnli
for its labels alone. How well they rank sources, and serve as weights: docs/panda.md. A new measure
is a function of (source, target, probe) and an entry in MEASURES, which all read.

Dimensions: B batch, S source tokens, P prompt length, D model, F feed-forward.
"""

import plumbing  # noqa: F401: first, and Ctrl-C is one line from here on
import dataclasses
import functools

import torch
import torch.nn.functional as F

from model import PAD, pad, shift_right, target_log_probs
from plumbing import command, matrix
from plumbing.stats import spearman  # noqa: F401: judges a measure, predicted against found
from prompt import PromptBank, from_file


@dataclasses.dataclass
class Probe:
    """What a measure may ask beside the two prompts."""

    t5: object
    ids: torch.Tensor  # (B, S), training inputs of the target, padded
    sentinel: int  # the id of <extra_id_0>
    answers: torch.Tensor = None  # (B, T), labels or free text for these, eos at the end, padded
    source_ids: torch.Tensor = None  # (B', S'), training inputs of the source, padded

    @classmethod
    def of(cls, t5, tokenizer, target, seed):
        """100 of the target's examples, those whose labels this seed has."""
        examples = [target.train[i] for i in target.mine(seed)[:100]]
        ids, answers = (pad(rows, t5.device) for rows in zip(*examples))
        return cls(t5, ids, tokenizer.sentinel(0), answers)

    def __post_init__(self):  # what T5 makes of them without a prompt, once for all pairs
        self.promptless = functools.cache(lambda make, *of: make(self.t5, None, *of))


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
    wi = "wi_0" if t5.config.feed_forward_proj == "gated-gelu" else "wi"
    hooks = [block.ff.register_forward_pre_hook(
        lambda ff, x: fired.append(getattr(ff, wi)(x[0])[0, 0] > 0)) for block in t5.decoder.blocks]
    try:
        ids = torch.tensor([[sentinel]], device=t5.device)
        t5.decode(torch.full_like(ids, PAD), *behind(t5, prompt, ids))
    finally:
        for hook in hooks:
            hook.remove()
    return torch.cat(fired).float()


def on(source, target, probe):
    """Cosine of the two prompts' active neurons."""
    return cosine(active_neurons(probe.t5, source, probe.sentinel),
                  active_neurons(probe.t5, target, probe.sentinel))


def behind(t5, prompt, ids):
    """Encode ids (B, S) behind a prompt (P, D), or None, P = 0: memory (B, P+S, D), its mask."""
    embedded, mask = t5.embed(ids), ids != PAD
    if prompt is not None:
        bank = PromptBank([prompt]).to(t5.device)
        embedded, mask = bank.prepend(embedded, mask, torch.zeros_like(ids[:, 0]))
    return t5.encode(embedded, mask), mask


@torch.no_grad()
def task_embedding(t5, prompt, ids, states="decoder", rows=32):
    """What the model makes of the inputs behind a prompt: a vector (D,).

    The decoder's last state at position 0, or the mean of the encoder's over an input's own
    tokens (the prompt's positions would show the prompt itself), averaged over the inputs
    ids (B, S), which are taken `rows` at a time. prompt (P, D), or None: promptless.
    """
    total = torch.zeros(t5.config.d_model, device=t5.device)
    for part in ids.to(t5.device).split(rows):
        memory, mask = behind(t5, prompt, part)
        if states == "encoder":
            text = (part != PAD)[:, :, None]  # (B, S, 1)
            own = memory.float()[:, -part.shape[1]:] * text  # (B, P+S, D) -> (B, S, D)
            total += (own.sum(1) / text.sum(1)).sum(0)
        else:
            start = torch.full_like(part[:, :1], PAD)
            total += t5.decoder_states(start, memory, mask).float()[:, 0].sum(0)
    return total / len(ids)


def panda(source, target, probe, inputs="target", states="decoder", centred=True):
    """Cosine of the task embeddings behind the two prompts. What the paper leaves open:

    inputs   whose are read behind both prompts, "target" or "source"; "own": each task's own
    states   which are pooled, the "decoder"'s at position 0 or the "encoder"'s of the text
    centred  whether the promptless model's embedding of the same inputs is taken away first
    """
    if inputs not in ("target", "source", "own") or states not in ("decoder", "encoder"):
        raise ValueError(f"unknown inputs {inputs!r} or states {states!r}")
    if inputs != "target" and probe.source_ids is None:
        raise ValueError(f"panda on inputs={inputs!r} reads the source's: give Probe(source_ids=…)")
    made, behind_source = [], probe.ids if inputs == "target" else probe.source_ids
    behind_target = behind_source if inputs == "source" else probe.ids
    for prompt, ids in ((source, behind_source), (target, behind_target)):
        made.append(task_embedding(probe.t5, prompt, ids, states))
        if centred:
            made[-1] -= probe.promptless(task_embedding, ids, states)
    return cosine(*made)


@torch.no_grad()
def answer_loss(t5, prompt, ids, answers, rows=32):
    """-log p of the answers (B, T) to inputs (B, S) behind a prompt (P, D) or None, in nats.

    Summed over all their tokens, eos counted: labels and free text are one case, as in training.
    """
    loss = 0.0
    for part, wanted in zip(ids.to(t5.device).split(rows), answers.to(t5.device).split(rows)):
        logits = t5.decode(shift_right(wanted), *behind(t5, prompt, part))
        loss -= target_log_probs(logits, wanted).sum().item()
    return loss


def explained(loss, base):
    """Share of the loss `base` that is gone, 1 - loss / base; if it grew, less the share that came.

    McFadden's pseudo-R² (1974) where it is positive. His has no lower end, and cut off at -1 all
    that spoil a task T5 knows would tie.

    >>> explained(2.0, 8.0), explained(8.0, 8.0), explained(32.0, 8.0)
    (0.75, 0.0, -0.75)
    """
    return (base - loss) / (max(base, loss) or 1)


def zero_shot(source, target, probe):
    """Share of the promptless T5's loss on the target that the source prompt takes away.

    On the probe's inputs and answers, nothing tuned; the target prompt is not read. 1: all of
    it, 0: no better than no prompt, -1/2: twice its loss.
    """
    if probe.answers is None:
        raise ValueError("zero_shot reads the answers to the inputs: give Probe(answers=…)")
    of = probe.ids, probe.answers
    return explained(answer_loss(probe.t5, source, *of), probe.promptless(answer_loss, *of))


# name -> function(source prompt (P, D), target prompt (P, D), Probe) -> a number in [-1, 1].
MEASURES = {"panda": panda, "on": on, "e_avg": e_avg, "e_tok": e_tok, "zero_shot": zero_shot}


def all_measures(source, target, probe):
    """Every measure of a pair of prompts, name -> number."""
    return {name: measure(source, target, probe) for name, measure in MEASURES.items()}


def main(argv=None):
    matrix.run(argv, __doc__.split("\n")[0], {"e_avg": e_avg, "e_tok": e_tok}, from_file)  # no T5


if __name__ == "__main__":
    command.run(main, "transferability.py")
