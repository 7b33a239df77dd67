"""How well will a prompt transfer? Measures for a pair of prompts.

    python transferability.py PROMPT PROMPT …    each pair's similarity

A measure takes a source prompt and a target prompt, (P, D) each, and returns a number in [-1, 1].
A good measure ranks the sources of a target as their scores after transfer do; `spearman` says how
well. A command of train.py with several sources and targets prints this for every measure.

    e_avg      cosine of the two mean vectors                (Vu et al. 2022, SPoT, section 3)
    e_tok      mean cosine over all P * P pairs of vectors   (Vu et al. 2022)
    on         overlap of the decoder neurons that fire      (Su et al. 2022, section 5)
    panda      cosine of the two task embeddings             (Zhong et al. 2022)
               (of a task: the mean state of T5 for its inputs behind its prompt)
    panda_raw  the same, not centred
    zero_shot  the share of T5's loss on the target that     (pseudo-R²: McFadden 1974)
               the source prompt removes, without any training on the target

PANDA has one task embedding for each task, made on the task's own inputs: the similarity matrices
in the paper's appendix are symmetric, with a diagonal of 1. The parts of the paper that we could
read leave two points open: which hidden states are averaged, and whether the embedding of the same
inputs without a prompt is subtracted first ("centred"). We take the decoder's state at its first
position, from which the answer is read, and we centre it. Most of that state is the same without a
prompt and for all tasks, so without centring unrelated tasks would look alike. The results of
train.py list `panda` and `panda_raw`.

zero_shot is our own, and it is not a similarity: it does not read the target prompt. It measures
the loss with which transfer starts. docs/paper.md says how well panda, on and e_avg rank the
paper's sources.

A new measure is a function of (source, target, probe) and one entry in MEASURES. If it does not
read the probe, add its name to NEED_NO_MODEL.

Dimensions: B batch, S source tokens, T target tokens, P prompt length, D model, F feed-forward.
"""

import dataclasses
import functools
from pathlib import Path

import torch
import torch.nn.functional as F

from model import PAD, shift_right, target_log_probs
from plumbing import options
from plumbing.stats import spearman  # noqa: F401, how a measure is judged
from prompt import PromptBank, from_file


@dataclasses.dataclass(frozen=True)
class Probe:
    """What a measure may read beside the two prompts."""

    t5: object
    sentinel: int  # the id of <extra_id_0>
    ids: torch.Tensor  # (B, S), training inputs of the target, padded
    answers: torch.Tensor = None  # (B, T), their targets, padded
    source_ids: torch.Tensor = None  # (B', S'), training inputs of the source, padded


def cosine(a, b):
    """Cosine of two vectors, 0 if one of them is zero.

    >>> round(cosine(torch.tensor([1.0, 0.0]), torch.tensor([1.0, 1.0])), 4)
    0.7071
    """
    return F.cosine_similarity(a.float().flatten(), b.float().flatten(), dim=0).item()


# --------------------------------------------- measures of the prompts' own vectors


def e_avg(source, target, probe=None):
    """Cosine of the prompts' mean vectors.

    >>> source, target = torch.tensor([[1.0, 0], [0, 1.0]]), torch.tensor([[1.0, 0], [1.0, 0]])
    >>> round(e_avg(source, target), 4)
    0.7071
    """
    return cosine(source.mean(0), target.mean(0))


def e_tok(source, target, probe=None):
    """Mean cosine over all pairs of a source vector and a target vector.

    >>> e_tok(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[1.0, 0.0], [1.0, 0.0]]))
    0.5
    """
    source = F.normalize(source.float(), dim=1)
    target = F.normalize(target.float(), dim=1)
    return (source @ target.T).mean().item()  # (P, D) @ (D, P) -> (P, P)


# ------------------------------------- measures of T5's states and answers behind them


def encode_behind(t5, prompt, ids):
    """Encode ids (B, S) behind a prompt (P, D), or None: memory (B, P+S, D) and its mask."""
    embedded = t5.embed(ids)
    mask = ids != PAD
    if prompt is not None:
        bank = PromptBank([prompt]).to(t5.device)
        embedded, mask = bank.prepend(embedded, mask, torch.zeros_like(ids[:, 0]))
    return t5.encode(embedded, mask), mask


@torch.no_grad()
def active_neurons(t5, prompt, sentinel):
    """1 for each decoder feed-forward unit that fires (x > 0) at decoder position 0, else 0.

    The units of all layers, as one vector. The input is the prompt and <extra_id_0>, whose id is
    `sentinel`, without any text.
    """
    layers = []

    def keep_active(layer, inputs, output):
        layers.append(output[0, 0] > 0)  # (B, T, F) -> (F,)

    hooks = []
    for block in t5.decoder.blocks:
        wi = block.ff.wi_0 if block.ff.gated else block.ff.wi
        hooks.append(wi.register_forward_hook(keep_active))
    ids = torch.tensor([[sentinel]], device=t5.device)
    memory, mask = encode_behind(t5, prompt, ids)
    t5.decode_hidden(torch.full_like(ids, PAD), memory, mask)
    for hook in hooks:
        hook.remove()
    return torch.cat(layers).float()


def on(source, target, probe):
    """Cosine of the two prompts' active neurons ("overlapping rate of activated neurons")."""
    active = [active_neurons(probe.t5, prompt, probe.sentinel) for prompt in (source, target)]
    return cosine(*active)


@torch.no_grad()
def task_embedding(t5, prompt, ids, states="decoder", rows=32):
    """T5's mean state for a task's inputs ids (B, S) behind its prompt: a vector (D,).

    states   "decoder": the decoder's last state at position 0. "encoder": the mean of the encoder's
             states over the input's own tokens; the prompt's positions would show the prompt itself
    prompt   (P, D), or None: without a prompt
    rows     how many inputs are read at a time
    """
    total = torch.zeros(t5.config.d_model, device=t5.device)
    for some in ids.to(t5.device).split(rows):
        memory, mask = encode_behind(t5, prompt, some)
        if states == "encoder":
            is_text = (some != PAD)[:, :, None]  # (B, S, 1)
            text = memory.float()[:, -some.shape[1]:] * is_text  # (B, P+S, D) -> (B, S, D)
            pooled = text.sum(1) / is_text.sum(1)
        else:
            start = torch.full_like(some[:, :1], PAD)
            pooled = t5.decode_hidden(start, memory, mask).float()[:, 0]
        total += pooled.sum(0)  # (B, D) -> (D,)
    return total / len(ids)


def panda(source, target, probe, inputs="own", states="decoder", centred=True):
    """Cosine of the two task embeddings.

    inputs   "own": each task's embedding is made on its own inputs, so the measure is symmetric (as
             in the paper's appendix). "target" or "source": both are made on this task's inputs
    states   "decoder" or "encoder", see task_embedding
    centred  whether the embedding of the same inputs without a prompt is subtracted first

    The commands use the defaults of inputs and states. The other values are other readings of the
    paper, for your own experiments.
    """
    if inputs not in ("own", "target", "source") or states not in ("decoder", "encoder"):
        raise ValueError(f"unknown inputs {inputs!r} or states {states!r}")
    if inputs != "target" and probe.source_ids is None:
        raise ValueError(f"inputs={inputs!r} reads the source's inputs: give Probe(source_ids=…)")
    source_ids = probe.ids if inputs == "target" else probe.source_ids
    target_ids = probe.source_ids if inputs == "source" else probe.ids
    embeddings = []
    for prompt, ids in ((source, source_ids), (target, target_ids)):
        embedding = task_embedding(probe.t5, prompt, ids, states)
        if centred:
            embedding = embedding - task_embedding(probe.t5, None, ids, states)
        embeddings.append(embedding)
    return cosine(*embeddings)


@torch.no_grad()
def answer_loss(t5, prompt, ids, answers, rows=32):
    """-log p of the answers (B, T) to inputs (B, S) behind a prompt (P, D) or None, in nats.

    It is the sum over all tokens of all answers, eos included, for labels and for free text.
    """
    loss = 0.0
    for some, targets in zip(ids.split(rows), answers.split(rows)):
        some = some.to(t5.device)
        targets = targets.to(t5.device)
        memory, mask = encode_behind(t5, prompt, some)
        logits = t5.decode(shift_right(targets), memory, mask)
        loss -= target_log_probs(logits, targets).sum().item()
    return loss


def explained(loss, base):
    """Share of the loss `base` that is removed, 1 - loss / base; if it grew, -(1 - base / loss).

    A positive value is McFadden's pseudo-R² (1974). His has no lower bound; here it is -1.

    >>> explained(2.0, 8.0), explained(8.0, 8.0), explained(32.0, 8.0)
    (0.75, 0.0, -0.75)
    """
    return (base - loss) / (max(base, loss) or 1)


def zero_shot(source, target, probe):
    """The share of T5's loss on the target, without a prompt, that the source prompt removes.

    The loss is on the probe's inputs and answers. Nothing is trained, and the target prompt is not
    read. 1: all of the loss is removed. 0: no better than without a prompt. -1/2: twice the loss.
    """
    if probe.answers is None:
        raise ValueError("zero_shot reads the answers to the inputs: give Probe(answers=…)")
    loss = answer_loss(probe.t5, source, probe.ids, probe.answers)
    base = answer_loss(probe.t5, None, probe.ids, probe.answers)
    return explained(loss, base)


# name -> function(source prompt (P, D), target prompt (P, D), Probe) -> a number in [-1, 1].
MEASURES = {"panda": panda, "panda_raw": functools.partial(panda, centred=False), "on": on,
            "e_avg": e_avg, "e_tok": e_tok, "zero_shot": zero_shot}
NEED_NO_MODEL = ("e_avg", "e_tok")  # they do not read the probe, so this file's command offers them


def all_measures(source, target, probe):
    """All measures of a pair of prompts, name -> number."""
    return {name: measure(source, target, probe) for name, measure in MEASURES.items()}


# ---------------------------------------------------------------------- the command


def table(similarity, title):
    """Lines of Markdown from similarity[target][source]: a row for each source, a column for each
    target.

    >>> both = {"a": {"a": 1.0, "b": 0.25}, "b": {"a": 0.25, "b": 1.0}}
    >>> print(*table(both, "e_avg"), sep="\\n")
    | e_avg, from | to a | to b |
    |---|---|---|
    | a | +1.00 | +0.25 |
    | b | +0.25 | +1.00 |
    """
    heads = [f"{title}, from"] + [f"to {target}" for target in similarity]
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    for source in similarity:
        cells = [f"{row[source]:+.2f}" for row in similarity.values()]
        lines.append(f"| {source} | {' | '.join(cells)} |")
    return lines


def read_prompts(paths):
    """name -> prompt (P, D). The name is that of the folder, or of the file without its suffix."""
    prompts = {}
    for path in map(Path, paths):
        name = path.name if path.is_dir() else path.stem
        if name in prompts:
            raise ValueError(f"{path}: a second prompt with the name {name}")
        prompts[name] = from_file(path)
    widths = {name: prompt.shape[1] for name, prompt in prompts.items()}
    if len(set(widths.values())) > 1:
        raise ValueError(f"prompts of several widths, so of several models: {widths}")
    return prompts


def main(argv=None):
    parser = options.Parser(description=__doc__.split("\n")[0], epilog=(
        "The other measures need the model and examples of the tasks: train.py writes them into "
        "every results.json under similarity."))
    parser.add_argument("prompts", nargs="+", metavar="PROMPT",
                        help="a trained prompt: a folder of ours or of PEFT, a .npy or a .pt file")
    parser.add_argument("--similarity", default="e_avg", help="e_avg or e_tok (default: e_avg)")
    args = parser.parse_args(argv)
    options.check("similarity", args.similarity, choices=NEED_NO_MODEL)
    prompts = read_prompts(args.prompts)
    measure = MEASURES[args.similarity]
    similarity = {}
    for target in prompts:
        similarity[target] = {source: measure(prompts[source], prompts[target])
                              for source in prompts}
    print(*table(similarity, args.similarity), sep="\n")


if __name__ == "__main__":
    options.run(main, "transferability.py")
