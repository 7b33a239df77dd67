"""The prompt bank: all that is trained here, but for model tuning, the baseline (`NoPrompt`).

A soft prompt is P vectors of size D that stand in front of an embedded input (Lester, Al-Rfou and
Constant 2021, "The Power of Scale for Parameter-Efficient Prompt Tuning", section 2). The T5 behind
it is frozen. This file holds N of them at once, and each row of a batch names the one it uses:

    bank row  0: [p p p p]      batch row 0 (index 1): [q q q q] old cats … </s>
              1: [q q q q]            row 1 (index 0): [p p p p] the soups … </s>

That one gather is prompt tuning (N = 1), several seeds in one batch, an ensemble, and a batch of
several tasks. Each prompt meets only its own rows, and its loss is a mean over their target tokens.
What is differentiated is the sum of the N losses, not their mean. So N prompts trained together get
the gradients of N prompts trained alone (tests/test_prompt.py). This does not hold with dropout,
which is drawn for a whole batch, nor in fp16, where all prompts share one loss scale: if the
gradient of one overflows, all of them skip the step.

Also here: what a bank answers to inputs, where a prompt starts from (section 3.2 of the paper), and
how several prompts of one task vote (section 6). The words that a prompt lies near (section 7) are
in predict.py. On disk a prompt is a folder in PEFT's layout, with a prompt.json of ours beside.

Left out: prompts in every layer ("deep" prompts), and prompts that a network computes.

Dimensions: B batch, S source tokens, T target tokens, P prompt length, D model, V vocabulary,
N prompts in the bank, L labels.
"""

import dataclasses

import torch
import torch.nn.functional as F
from torch import nn

from model import PAD, pad, shift_right, target_log_probs
# Prompts on disk. save: writes PEFT's layout and a prompt.json. load: reads such a folder, (prompt,
# what made it). load_peft: a folder without prompt.json, as PEFT writes it. from_file: any of the
# formats, or an array -> a prompt (P, D).
from plumbing.prompt_files import from_file, load, load_peft, save  # noqa: F401

COMMONEST = 5000  # sampled-vocabulary starts come from the 5,000 commonest pieces
SPECIAL = 3  # pad, eos and unk: the first three ids are no pieces of text


class PromptBank(nn.Module):
    """N prompts of one length as one parameter (N, P, D), in fp32 whatever T5 runs in.

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
        """A new bank with these prompts in it, on the same device: to score best checkpoints."""
        return PromptBank(snapshots).to(self.prompts.device)

    def prepend(self, embedded, mask, index):
        """Put prompt index[b] in front of row b.

        embedded (B, S, D), mask (B, S), index (B,) of whole numbers below N.
        Returns (B, P+S, D) and its mask (B, P+S): every prompt vector is visible.
        """
        B, _, D = embedded.shape
        if self.prompts.shape[-1] != D:
            raise ValueError(f"these prompts are {self.prompts.shape[-1]} wide, the model {D}")
        if index.shape != (B,):
            raise ValueError(f"index has shape {tuple(index.shape)}, wanted one per row: ({B},)")
        # index_select, not self.prompts[index]: on a CPU its gradient is added up in a fixed order.
        prompts = self.prompts.index_select(0, index)  # (N, P, D) -> (B, P, D)
        visible = torch.ones(prompts.shape[:2], dtype=torch.bool, device=mask.device)
        return torch.cat([prompts, embedded], dim=1), torch.cat([visible, mask.bool()], dim=1)


class NoPrompt(nn.Module):
    """T5 by itself under the interface of a bank: nothing in front, and what is trained is T5.

    So model tuning, the baseline of the paper, is the loop of prompt tuning with another
    optimiser, and T5 without a prompt is scored as a prompt is.
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
    # A term of a prompt's loss is a mean over all that the prompt has in a step, which may be in
    # several batches. So each row carries 1 / count. CE is a mean over target tokens; distill.py's
    # KD is one over target tokens, encoder positions or rows (train.step_rows fills them in).
    token_share: float = 0.0  # 1 / number of target tokens in all rows of this prompt in the step
    position_share: float = 0.0  # 1 / number of encoder positions in them, P for each row included
    row_share: float = 0.0  # 1 / number of these rows


@dataclasses.dataclass
class Batch:
    """B rows as tensors."""

    rows: list
    ids: torch.Tensor  # (B, S), the inputs, padded
    targets: torch.Tensor  # (B, T), padded
    index: torch.Tensor  # (B,), each row's prompt
    token_share: torch.Tensor  # (B,)
    position_share: torch.Tensor  # (B,)
    row_share: torch.Tensor  # (B,)

    @property
    def mask(self):
        return self.ids != PAD

    def to(self, device):
        """The same batch with its tensors on a device."""
        tensors = [self.ids, self.targets, self.index, self.token_share, self.position_share,
                   self.row_share]
        if torch.device(device).type == "cuda":  # pinned memory: the copies do not wait
            tensors = [tensor.pin_memory() for tensor in tensors]
        return Batch(self.rows, *(tensor.to(device, non_blocking=True) for tensor in tensors))

    def select(self, numbers, rows):
        """The batch of some of its rows: their numbers (R,), and the same rows as a list."""
        return Batch(rows, self.ids[numbers], self.targets[numbers], self.index[numbers],
                     self.token_share[numbers], self.position_share[numbers],
                     self.row_share[numbers])


def collate(rows, multiple=1, before=0):
    """Rows -> a Batch, padded to the longest.

    P+S and T are padded up to a multiple of `multiple`: shapes then come again, and a GPU can
    replay a recorded step. before: P, if `prepend` will put a prompt in front (ids stay without).
    """
    ids = pad([[PAD] * before + [*row.ids] for row in rows], multiple)[:, before:]
    return Batch(
        rows, ids, pad([row.target for row in rows], multiple),
        torch.tensor([row.prompt for row in rows]),
        torch.tensor([row.token_share for row in rows]),
        torch.tensor([row.position_share for row in rows]),
        torch.tensor([row.row_share for row in rows]))


# ------------------------------------------------------------------ what a bank answers


def encode(t5, bank, batch):
    """T5's encoder on a batch behind its prompts: memory (B, P+S, D) and its mask (B, P+S)."""
    embedded, mask = bank.prepend(t5.embed(batch.ids), batch.mask, batch.index)
    return t5.encode(embedded, mask), mask


@torch.no_grad()
def label_scores(t5, bank, batch, labels):
    """log p of each label (L, T) for each row: (B, L)."""
    memory, mask = encode(t5, bank, batch)
    return t5.score_labels(memory, mask, labels)


@torch.no_grad()
def generate(t5, bank, batch, max_tokens):
    """The free text that follows each row, greedily: lists of token ids.

    None for a row whose memory holds a number that is not finite.
    """
    memory, mask = encode(t5, bank, batch)
    texts = t5.generate(memory, mask, max_tokens).tolist()
    are_finite = memory.isfinite().flatten(1).all(1).tolist()  # (B, P+S, D) -> (B,)
    return [text if is_finite else None for text, is_finite in zip(texts, are_finite)]


def target_log_likelihood(t5, bank, batch):
    """log p of each row's target, summed over its tokens: (B,).

    Minus its mean is a loss for one prompt, by row; train.py's (distill.loss) is by token.
    """
    memory, mask = encode(t5, bank, batch)
    logits = t5.decode(shift_right(batch.targets), memory, mask)
    return target_log_probs(logits, batch.targets).sum(1)


# ------------------------------------------------------------ where a prompt starts


def initialise(how, embedding, length, seed, pieces=None, labels=(), text=()):
    """A fresh prompt (P, D), by one of the ways of Lester et al., section 3.2, or from a text.

    how        "uniform": numbers from [-0.5, 0.5]
               "vocabulary": embeddings of pieces drawn without replacement from the
               5,000 commonest (the vocabulary lists them by falling frequency)
               "labels": the embedding of each label, several pieces averaged; the rest as above
               "text": the embeddings of a text's pieces, repeated
    embedding  (V, D), the model's
    pieces     size of the vocabulary without sentinels and padding rows; V if None
    labels     for "labels": the token ids of each label, without eos
    text       for "text": its token ids, without eos
    """
    generator = torch.Generator().manual_seed(seed)  # on the CPU: the same on every device
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
                         f"from {candidates} pieces")
    drawn = SPECIAL + torch.randperm(candidates, generator=generator)[:length]
    prompt = embedding[drawn.to(embedding.device)].float().cpu()
    if how == "labels":
        for i, ids in enumerate(labels[:length]):
            prompt[i] = embedding[torch.tensor(ids, device=embedding.device)].float().mean(0)
    return prompt


def from_text(embedding, length, ids):
    """The embeddings (P, D) of token ids, repeated until there are P of them."""
    if len(ids) == 0 or min(ids) < SPECIAL:
        raise ValueError("initialising from a text needs one whose pieces are all known")
    repeated = [ids[i % len(ids)] for i in range(length)]
    return embedding[torch.tensor(repeated, device=embedding.device)].float().cpu()


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
    is_leading = votes == votes.max(-1, keepdim=True).values
    return log_probs.sum(0).masked_fill(~is_leading, float("-inf")).argmax(-1)
