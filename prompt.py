"""The prompt bank: all that is ever trained here.

A soft prompt is P vectors of size D that stand in front of an embedded input (Lester, Al-Rfou and
Constant 2021, "The Power of Scale for Parameter-Efficient Prompt Tuning", section 2). The T5 behind
it is frozen. This file holds N of them at once, and each row of a batch names the one that it uses:

    bank row  0: [p p p p]      batch row 0 (index 1): [q q q q] old cats … </s>
              1: [q q q q]            row 1 (index 0): [p p p p] the soups … </s>

That one gather is prompt tuning (N = 1), several seeds in one pass, an ensemble, and a batch of
several tasks. As each prompt meets only its own rows, and a loss that is averaged over its own
rows, N prompts trained together get the gradients of N trained alone (tests/test_prompt.py; not
with dropout, which falls on a whole batch, nor in fp16, with its one GradScaler: train.py).

Also here: how a bank is asked, where a prompt starts from (section 3.2 of the paper), and what
several prompts of one task answer together (section 6). The words that a prompt lies near
(section 7) are in predict.py; how one is kept on disk, as PEFT does, in plumbing/adapter.py.

Left out: prompts in every layer ("deep" ones), and reparametrised by a network.

Dimensions: B batch, S source tokens, P prompt length, D model, V vocabulary, N prompts, L labels.
"""

import torch
import torch.nn.functional as F
from torch import nn

from model import PAD, pad, shift_right, target_log_probs
from plumbing import cores, gpu
from plumbing.adapter import from_file, load, load_peft, save  # noqa: F401: a prompt on disk

COMMONEST = 5000  # sampled-vocabulary starts come from the 5,000 commonest pieces
SPECIAL = 3  # pad, eos and unk: the first three ids are no pieces of text


class PromptBank(nn.Module):
    """N prompts of one length, each a parameter of its own.

    prompts: (N, P, D), or N tensors (P, D). Copied, and kept in fp32, whatever T5 runs in.
    """

    def __init__(self, prompts):
        super().__init__()
        self.prompts = nn.ParameterList(
            nn.Parameter(p.detach().clone().float()) for p in prompts)
        if len({p.shape for p in self.prompts}) != 1:
            shapes = sorted({tuple(p.shape) for p in self.prompts})
            raise ValueError(f"a bank needs prompts of one shape, got {shapes}")

    def __len__(self):
        return len(self.prompts)

    @property
    def length(self):
        return len(self.prompts[0])  # P

    def trained(self, n):
        """A copy of what run n trains: its prompt (P, D)."""
        return self.prompts[n].detach().cpu().clone()

    def part(self, places):
        """A bank of the prompts at these places."""
        return self.holding([self.prompts[n] for n in places])

    def holding(self, trained):
        """A bank of such copies, on the same device."""
        return PromptBank(trained).to(self.prompts[0].device)

    def prepend(self, embedded, mask, index):
        """Put prompt index[b] in front of row b.

        embedded (B, S, D), mask (B, S), index (B,) of whole numbers below N.
        Returns (B, P+S, D) and its mask (B, P+S): every prompt vector is visible.
        """
        (B, _, D), prompts = embedded.shape, torch.stack(tuple(self.prompts))
        if prompts.shape[-1] != D:
            raise ValueError(f"these prompts are {prompts.shape[-1]} wide, the model {D}")
        if index.shape != (B,):
            raise ValueError(f"index has shape {tuple(index.shape)}, wanted one per row: ({B},)")
        # Not prompts[index]: threads add up its gradient in any order, so not the same bits twice.
        rows = prompts.index_select(0, index)  # (N, P, D) -> (B, P, D)
        seen = torch.ones(rows.shape[:2], dtype=torch.bool, device=mask.device)
        return torch.cat([rows, embedded], dim=1), torch.cat([seen, mask.bool()], dim=1)


class Promptless(nn.Module):
    """T5 by itself under the same interface: nothing in front, and what is trained is T5.

    Model tuning, the baseline of the paper, is then the loop of prompt tuning with another
    optimiser; and T5 without a prompt is scored as a prompt is.
    """

    length = 0

    def __init__(self, t5):
        super().__init__()
        self.t5 = t5

    def __len__(self):
        return 1

    def trained(self, n):
        """A copy of all weights, by name."""
        return {name: w.detach().cpu().clone() for name, w in self.t5.state_dict().items()}

    def part(self, places):
        return self

    def holding(self, trained):
        """The same T5, with the one copy's weights."""
        self.t5.load_state_dict(trained[0])
        return self

    def prepend(self, embedded, mask, index):
        return embedded, mask.bool()


# --------------------------------------------------------------- batches of rows


def in_parts(rows, tokens, length=0, overhead=100, every=1, step=1):
    """Cut rows, (key, input ids, …), where their length changes, into parts, the cheapest way.

    A part is one forward pass, as wide as its longest row, of at most `tokens` positions, `length`
    of a prompt and the padding counted. Its price is its positions and `overhead` more. A loss that
    is summed row by row does not mind where a row stands: the parts of a step give the gradient of
    the whole. Each cut is weighed against all earlier ones, as in breaking lines of text. A GPU
    wants few shapes: there, cuts after a multiple of `every` rows, widths a multiple of `step`.

    >>> rows = [("a", [5] * 10), ("b", [5] * 200), ("c", [5] * 12)]  # 700, or 24 + 200 + 200
    >>> [[key for key, _ in part] for part in in_parts(rows, tokens=800)]
    [['a', 'c'], ['b']]
    """
    rows = sorted(rows, key=lambda row: len(row[1]))
    widths = [-(-(length + len(row[1])) // step) * step for row in rows]

    def price(start, end):
        passes = -(-(end - start) // max(1, tokens // widths[end - 1]))
        return cheapest[start] + (end - start) * widths[end - 1] + passes * overhead

    cheapest, before = {0: 0}, {}  # of the rows up to an end; where their last part begins
    for end in range(1, len(rows) + 1):
        if end == len(rows) or end % every == 0 and (every > 1 or widths[end] > widths[end - 1]):
            before[end] = min(cheapest, key=lambda start: price(start, end))
            cheapest[end] = price(before[end], end)
    ends = [len(rows)] if rows else []
    while ends and before[ends[-1]]:
        ends.append(before[ends[-1]])
    for end in reversed(ends):
        most = max(1, tokens // widths[end - 1])
        for start in range(before[end], end, most):
            yield rows[start:min(start + most, end)]


@torch.no_grad()
def ask(t5, bank, rows, kinds, tokens=8192, sure=False, apart=True):
    """What prompts say to inputs, in whatever mixture: a list of answers, one for each row.

    rows    (n, input ids, kind): prompt n of the bank stands before this input
    kinds   kind -> (label ids (L, T) that end in eos, None), or (None, most tokens of a text)
    tokens  positions in one forward pass, see `in_parts`
    sure    whether a text's confidence is wanted, which costs another run of the decoder
    apart   whether each prompt's rows are padded as if alone; they then come prompt by prompt

    Each input is encoded once. An answer to a kind with labels is their log-probabilities (L,);
    to free text it is (ids, confidence), the mean log-probability of its tokens (None if not sure).
    """
    answers = [None] * len(rows)
    keyed, given = [((n, i), ids) for i, (n, ids, _) in enumerate(rows)], (tokens, bank.length)
    for part in (cores.passes(in_parts, t5, keyed, *given) if apart else
                 in_parts(keyed, *given, cores.overhead(t5))):
        places = [i for (_, i), _ in part]
        ids = pad([row for _, row in part], t5.device, gpu.EIGHT, bank.length)
        index = gpu.placed([rows[i][0] for i in places], t5.device)
        embedded, mask = bank.prepend(t5.embed(ids), ids != PAD, index)
        memory = t5.encode(embedded, mask)
        for kind in dict.fromkeys(rows[i][2] for i in places):
            mine = [b for b, i in enumerate(places) if rows[i][2] == kind]
            labels, most = kinds[kind]
            if labels is not None:
                said = t5.score_labels(memory[mine], mask[mine], labels)
            else:
                said = write(t5, memory[mine], mask[mine], most, sure)
            for b, answer in zip(mine, said):
                answers[places[b]] = answer
    return answers


def write(t5, memory, mask, most, sure):
    """Free text for each input: (ids, mean log-probability of its tokens, or None if not sure)."""
    written = t5.generate(memory, mask, most)  # (B, T)
    if not sure:
        return [(ids, None) for ids in written.tolist()]
    log_probs = target_log_probs(t5.decode(shift_right(written), memory, mask), written)
    return zip(written.tolist(), (log_probs.sum(1) / (written != PAD).sum(1)).tolist())


# ------------------------------------------------------------ initialisation


def initialise(how, embedding, length, seed, pieces=None, labels=(), text=()):
    """A fresh prompt (P, D), by one of the ways of Lester et al., section 3.2, or from a text.

    how        "uniform": numbers from [-0.5, 0.5]
               "vocabulary": embeddings of pieces drawn without replacement from the
               5,000 commonest (the vocabulary lists them by falling frequency)
               "labels": the embedding of each label, several pieces averaged; the rest as above
               "text": the embeddings of a text's pieces, over and over
    embedding  (V, D), the model's
    pieces     size of the vocabulary without sentinels and padding rows; V if None
    labels     for "labels": the token ids of each label, without eos
    text       for "text": its token ids, without eos
    """
    generator = torch.Generator().manual_seed(seed)  # on the CPU: the same on every device
    V, D = embedding.shape
    if how == "uniform":
        return torch.rand(length, D, generator=generator) - 0.5
    if how not in ("vocabulary", "labels", "text"):
        raise ValueError(f"unknown initialisation {how!r}: uniform, vocabulary, labels or text")
    if how == "text":
        if not len(text) or min(text) < SPECIAL:
            raise ValueError("initialising from a text needs one whose pieces are all known")
        ids = torch.as_tensor(text, device=embedding.device)[torch.arange(length) % len(text)]
        return embedding[ids].float().cpu()
    if how == "labels" and not labels:
        raise ValueError("initialising from labels needs a task with labels")
    candidates = min(SPECIAL + COMMONEST, pieces or V) - SPECIAL
    if length > candidates:
        raise ValueError(f"{length} vectors cannot be drawn without replacement "
                         f"from {candidates} pieces")
    drawn = SPECIAL + torch.randperm(candidates, generator=generator)[:length]
    prompt = embedding[drawn.to(embedding.device)].float().cpu()
    if how == "labels":
        for i, ids in enumerate(labels[:length]):
            prompt[i] = embedding[torch.as_tensor(ids, device=embedding.device)].float().mean(0)
    return prompt


# ---------------------------------------------------------------- an ensemble


def vote(log_probs, how="majority"):
    """The label that N prompts choose for each example: log_probs (N, B, L) -> (B,).

    "majority": each prompt has one vote; among labels with equally many, the larger
    sum of log-probabilities over all prompts (Lester et al., section 6; they leave ties
    open). "mean": the larger mean probability, each prompt's made to sum to 1 first.

    >>> scores = torch.tensor([[[-1.0, -2.0]], [[-1.0, -2.0]], [[-9.0, -0.1]]])  # 3 prompts
    >>> vote(scores).item(), vote(scores, "mean").item()
    (0, 1)
    """
    if how == "mean":
        return log_probs.softmax(-1).mean(0).argmax(-1)
    if how != "majority":
        raise ValueError(f"unknown vote {how!r}: majority or mean")
    L = log_probs.shape[-1]
    votes = F.one_hot(log_probs.argmax(-1), L).sum(0)  # (N, B) -> (B, L)
    total = log_probs.sum(0)
    best = votes == votes.max(-1, keepdim=True).values
    return total.masked_fill(~best, float("-inf")).argmax(-1)
