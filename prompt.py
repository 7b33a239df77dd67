"""The prompt bank: N prompts in one tensor, which are all that is trained.

A soft prompt is P vectors of size D in front of an embedded input (Lester, Al-Rfou and Constant
2021, "The Power of Scale for Parameter-Efficient Prompt Tuning", section 2). The T5 that reads it
is frozen. A bank holds N prompts. Each row of a batch names the prompt that it uses:

    bank  prompt 0: [p p p p]      batch  row 0 (index 1): [q q q q] old cats … </s>
          prompt 1: [q q q q]             row 1 (index 0): [p p p p] the soups … </s>

One gather (`PromptBank.prepend`) serves prompt tuning (N = 1), several seeds in one batch, an
ensemble, and a batch of several tasks. Each prompt has its own rows, and its loss is a mean over
their target tokens (`count`). The loss of a step is the sum of the N losses, not their mean. So N
prompts trained together get, up to rounding, the gradients of N prompts trained alone
(tests/test_prompt.py). There are two exceptions: dropout is drawn for a whole batch; and in fp16
the loss is multiplied by a scale, so that small gradients do not become 0. All prompts share this
scale. If one gradient is then too large for fp16, all prompts skip the step.

Also here: the answers of a bank, the start of a prompt (section 3.2 of the paper), the vote of
several prompts (section 6), and `NoPrompt`, with which model tuning, the paper's baseline, runs in
the same loop. predict.py prints the words nearest to a prompt (section 7). On disk a prompt is a
folder in the format of the PEFT library, with our prompt.json beside its files.

Left out: prompts in every layer ("deep" prompts), and prompts that a network computes.

Dimensions: B batch, S source tokens, T target tokens, P prompt length, D model, V vocabulary,
N prompts in the bank, L labels.
"""

import dataclasses

import torch
import torch.nn.functional as F
from torch import nn

from model import PAD, pad, shift_right, target_log_probs
# Prompts on disk. save: writes PEFT's files and a prompt.json. load: reads such a folder; returns
# (prompt, what made it). load_peft: reads a folder that PEFT has written, without prompt.json.
# from_file: reads any of these formats, or an array; returns a prompt (P, D).
from plumbing.prompt_files import from_file, load, load_peft, save  # noqa: F401

COMMONEST = 5000  # sampled-vocabulary starts come from the 5,000 commonest pieces
SPECIAL = 3  # the first three ids are pad, eos and unk, not pieces of text


class PromptBank(nn.Module):
    """N prompts of one length as one parameter (N, P, D), always in fp32.

    prompts: N tensors (P, D), which are copied.
    """

    def __init__(self, prompts):
        super().__init__()
        shapes = {tuple(prompt.shape) for prompt in prompts}
        if len(shapes) != 1:
            raise ValueError(f"a bank needs prompts of one shape, got {sorted(shapes)}")
        self.prompts = nn.Parameter(torch.stack([prompt.detach().float() for prompt in prompts]))

    def __len__(self):
        return len(self.prompts)

    @property
    def length(self):
        return self.prompts.shape[1]  # P

    def snapshot(self, n):
        """A copy of prompt n, (P, D), on the CPU."""
        return self.prompts[n].detach().cpu().clone()

    def holding(self, snapshots):
        """A new bank of these prompts, on the same device. It serves to score best checkpoints."""
        return PromptBank(snapshots).to(self.prompts.device)

    def prepend(self, embedded, mask, index):
        """Put prompt index[b] in front of row b.

        embedded (B, S, D), mask (B, S), index (B,): whole numbers below N. Returns (B, P+S, D) and
        its mask (B, P+S), which is true at every prompt vector.
        """
        B, _, D = embedded.shape
        if self.prompts.shape[-1] != D:
            raise ValueError(f"these prompts are {self.prompts.shape[-1]} wide, the model {D}")
        if index.shape != (B,):
            raise ValueError(f"index has shape {tuple(index.shape)}, wanted one per row: ({B},)")
        # On a CPU index_select adds up its gradient in a fixed order; self.prompts[index] does not.
        prompts = self.prompts.index_select(0, index)  # (N, P, D) -> (B, P, D)
        visible = torch.ones(prompts.shape[:2], dtype=torch.bool, device=mask.device)
        return torch.cat([prompts, embedded], dim=1), torch.cat([visible, mask.bool()], dim=1)


class NoPrompt(nn.Module):
    """T5 without a prompt, with the interface of a bank. Its parameters are those of T5.

    So model tuning, the paper's baseline, uses the loop of prompt tuning with another optimiser.
    And a T5 without a prompt is scored by the same functions as a prompt.
    """

    length = 0

    def __init__(self, t5):
        super().__init__()
        self.t5 = t5

    def __len__(self):
        return 1

    def snapshot(self, n):
        """A copy of all weights, by name."""
        return {name: weight.detach().cpu().clone() for name, weight in self.state_dict().items()}

    def holding(self, snapshots):
        """This T5, overwritten with these weights."""
        [weights] = snapshots
        self.load_state_dict(weights)
        return self

    def prepend(self, embedded, mask, index):
        return embedded, mask.bool()


# ------------------------------------------------------------------ rows and batches


@dataclasses.dataclass(frozen=True)
class Row:
    """One example behind one prompt."""

    prompt: int  # its index in the bank
    example: int  # its number in the task's examples
    ids: list  # the input's token ids
    target: list = ()  # the target's token ids


@dataclasses.dataclass
class Batch:
    """B rows as tensors."""

    rows: list
    ids: torch.Tensor  # (B, S), the inputs, padded
    targets: torch.Tensor  # (B, T), padded
    index: torch.Tensor  # (B,), each row's prompt

    @property
    def mask(self):
        return self.ids != PAD

    def to(self, device):
        """The same batch with its tensors on a device."""
        tensors = [self.ids, self.targets, self.index]
        if torch.device(device).type == "cuda":  # pinned memory: Python does not wait for copies
            tensors = [tensor.pin_memory() for tensor in tensors]
        return Batch(self.rows, *(tensor.to(device, non_blocking=True) for tensor in tensors))

    def select(self, numbers, rows):
        """A batch of some of the rows. numbers (R,): which ones; rows: the same ones as a list."""
        return Batch(rows, self.ids[numbers], self.targets[numbers], self.index[numbers])


def collate(rows, multiple=1, before=0):
    """Rows -> a Batch, padded to the longest.

    P+S and T are padded up to a multiple of `multiple`. Then few shapes occur, which a GPU needs to
    repeat a step without Python (CUDA graphs, plumbing/engine.py). before: P, if `prepend` will put
    a prompt in front. It only counts here: the ids have no columns for it.
    """
    ids = pad([[PAD] * before + [*row.ids] for row in rows], multiple)[:, before:]
    targets = pad([row.target for row in rows], multiple)
    return Batch(rows, ids, targets, torch.tensor([row.prompt for row in rows]))


@dataclasses.dataclass
class Counts:
    """How much of a step belongs to each prompt: three tensors (N,).

    A prompt's loss is a mean over its part of the step. A step may be computed in several batches,
    so the parts are counted before the step is split.
    """

    tokens: torch.Tensor  # target tokens of its rows
    positions: torch.Tensor  # encoder positions of its rows, P of each row included
    rows: torch.Tensor


def count(rows, bank):
    """The Counts of the rows of a step, for the prompts of a bank.

    >>> bank = PromptBank([torch.zeros(3, 8), torch.zeros(3, 8)])  # N = 2, P = 3
    >>> counts = count([Row(0, 7, [5, 6, 1], [8, 1]), Row(1, 7, [9, 1], [4, 4, 1])], bank)
    >>> counts.tokens.tolist(), counts.positions.tolist()
    ([2.0, 3.0], [6.0, 5.0])
    """
    counts = [[0] * len(bank) for _ in range(3)]
    tokens, positions, of_prompt = counts
    for row in rows:
        tokens[row.prompt] += len(row.target)
        positions[row.prompt] += bank.length + len(row.ids)
        of_prompt[row.prompt] += 1
    device = next(bank.parameters()).device
    return Counts(*torch.tensor(counts, dtype=torch.float32, device=device))


# ------------------------------------------------------------------ what a bank answers


def encode(t5, bank, batch):
    """Encode a batch with its prompts in front: memory (B, P+S, D) and its mask (B, P+S)."""
    embedded, mask = bank.prepend(t5.embed(batch.ids), batch.mask, batch.index)
    return t5.encode(embedded, mask), mask


@torch.no_grad()
def label_scores(t5, bank, batch, labels):
    """log p of each label (L, T) for each row: (B, L)."""
    memory, mask = encode(t5, bank, batch)
    return t5.score_labels(memory, mask, labels)


@torch.no_grad()
def generate(t5, bank, batch, max_tokens):
    """The text that T5 generates greedily for each row: lists of token ids.

    None for a row whose memory has a number that is not finite.
    """
    memory, mask = encode(t5, bank, batch)
    texts = t5.generate(memory, mask, max_tokens).tolist()
    are_finite = memory.isfinite().flatten(1).all(1).tolist()  # (B, P+S, D) -> (B,)
    return [text if is_finite else None for text, is_finite in zip(texts, are_finite)]


def target_log_likelihood(t5, bank, batch):
    """log p of each row's target, summed over its tokens: (B,).

    Minus its mean is a loss for one prompt: a mean over rows. The loss of train.py (distill.loss)
    is a mean over tokens.
    """
    memory, mask = encode(t5, bank, batch)
    logits = t5.decode(shift_right(batch.targets), memory, mask)
    return target_log_probs(logits, batch.targets).sum(1)


# ------------------------------------------------------------ where a prompt starts


def initialise(how, embedding, length, seed, pieces=None, labels=(), text=()):
    """A fresh prompt (P, D), made in one of the ways of Lester et al., section 3.2, or from a text.

    how        "uniform": numbers from [-0.5, 0.5]
               "vocabulary": the embeddings of pieces drawn without replacement from the 5,000
               commonest (the vocabulary lists the commonest first)
               "labels": the embedding of each label (the mean, if it has several pieces); the other
               vectors as for "vocabulary"
               "text": the embeddings of the pieces of a text, repeated
    embedding  (V, D), the model's
    pieces     size of the vocabulary without <extra_id_…> and unused rows at its end; None: V
    labels     for "labels": the token ids of each label, without eos
    text       for "text": its token ids, without eos
    """
    generator = torch.Generator().manual_seed(seed)  # on the CPU, so equal for all devices
    V, D = embedding.shape
    if how == "uniform":
        return torch.rand(length, D, generator=generator) - 0.5
    if how == "text":
        return from_text(embedding, length, text)
    if how not in ("vocabulary", "labels"):
        raise ValueError(f"unknown initialisation {how!r}: uniform, vocabulary, labels or text")
    if how == "labels" and not labels:
        raise ValueError("initialising from labels needs a task with labels")
    candidates = min(SPECIAL + COMMONEST, pieces or V) - SPECIAL
    if length > candidates:
        raise ValueError(f"{length} vectors cannot be drawn without replacement "
                         f"from {candidates} pieces: give a smaller --length, or --init uniform")
    drawn = SPECIAL + torch.randperm(candidates, generator=generator)[:length]
    prompt = embedding[drawn.to(embedding.device)].float().cpu()
    if how == "labels":
        for i, ids in enumerate(labels[:length]):
            prompt[i] = embedding[torch.tensor(ids, device=embedding.device)].float().mean(0)
    return prompt


def from_text(embedding, length, ids):
    """The embeddings (P, D) of token ids, repeated until there are P of them."""
    if len(ids) == 0 or min(ids) < SPECIAL:
        raise ValueError("--init text: needs a text of pieces that the vocabulary knows")
    repeated = [ids[i % len(ids)] for i in range(length)]
    return embedding[torch.tensor(repeated, device=embedding.device)].float().cpu()


# ---------------------------------------------------------------- an ensemble


def vote(log_probs, how="majority"):
    """The label that N prompts choose for each example: log_probs (N, B, L) -> (B,).

    "majority": each prompt has one vote (Lester et al., section 6). The paper leaves ties open;
    here the largest sum of log-probabilities over all prompts decides. "mean": the largest mean
    probability; each prompt's probabilities are first scaled to sum to 1.

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
    is_leading = votes == votes.max(-1, keepdim=True).values
    return log_probs.sum(0).masked_fill(~is_leading, float("-inf")).argmax(-1)
