"""PANDA's loss: a student prompt learns from the labels and from teacher prompts.

Zhong et al. 2022, "PANDA: Prompt Transfer Meets Knowledge Distillation for Efficient Model
Adaptation". Three prompts are trained one after the other, in front of the same frozen T5:

    source    tuned on the source task
    teacher   starts as the source prompt, is tuned on the target task, and is then frozen. It is
              the best checkpoint on dev of `pot` (prompt transfer) in train.py
    student   starts as a fresh prompt, and is tuned on the target task with the loss

        L = CE(y, student) + lambda * sim(source, target) * KD(teacher, student)

sim is the similarity of the source prompt and a fourth prompt, tuned on the target from a fresh
start (transferability.py).

The paper's abstract says that the similarity weighs the distillation. We could not read the
method's section, so the rest is our reconstruction: KL at the target tokens, and lambda. We could
read the authors' code, but it has another loss than their abstract says: `mse`, without a
similarity (docs/papers.md). The table DISTANCES has both, and two more ways to compare student and
teacher (KD):

    kl      t^2 * KL(softmax(z_teacher / t) || softmax(z_student / t)) at the target tokens, with
            the temperature t: our reconstruction from the abstract
    mse     squared error of the logits there, with a small fixed weight: the released code
    labels  the same KL between the softmaxes of the label scores (T5.score_labels)
    hidden  squared error of the encoder's hidden states at all positions, prompt included, divided
            by the squared size of the teacher's: our own

`kl` adds nothing on the toy world, for two reasons (docs/panda.md). First, the teacher says little
that is new. At the start KL and CE have nearly the same gradient: both mostly say "write a label".
Later both gradients are small and differ more, but the teacher was tuned on the same inputs, and
its answer is mostly the label. Second, the optimisers divide a gradient by its size, so twice CE
gives the same step as CE alone (docs/one-step.md). `hidden` compares how T5 reads the input, and
its gradient has another direction.

One step with numbers: a student with two rows, one target token in each (V = 2):

    z_student   [0, 0]    [0, 0]      CE = ln 2 = 0.6931 for both, whatever the label
    z_teacher   [ln 4, 0] [0, 0]      KL((.8, .2) || (.5, .5)) = 0.1927, and 0
    ce = 0.6931, kd = (0.1927 + 0) / 2 = 0.0964, and with lambda * sim = 0.5
    L  = 0.6931 + 0.5 * 0.0964 = 0.7413        (tests/test_distill.py computes it)

Each term of a prompt's loss is a mean over what is compared for this prompt: its target tokens (CE,
`kl`, `mse`), its encoder positions (`hidden`), or its rows (`labels`). So padding, the split of a
step into batches, and the other prompts of a batch change nothing.
A similarity below 0 counts as 0: such a source teaches nothing, and its student is plain prompt
tuning. `mse` ignores the similarity, except in late fusion (several teachers), where train.students
divides the weight among the teachers by their similarities.

With several sources, `fuse` averages their prompts into the start of one teacher (early fusion), or
a student has one teacher for each source (late fusion). A new distance is one function and one
entry in DISTANCES.

Dimensions: B batch, S source tokens, T target tokens, P prompt length, D model, V vocabulary,
R pairs of a row and a teacher, U units of a row (its target tokens, its positions; labels: 1).
"""

import dataclasses

import torch
import torch.nn.functional as F

from model import shift_right, target_log_probs
from prompt import PromptBank, encode

# ----------------------------------------------------------------- the distances


def kl(student, teacher, temperature):
    """temperature^2 * KL(teacher || student) at every token: logits (R, T, V) twice -> (R, T).

    The factor temperature^2 keeps the size of the gradient independent of the temperature (Hinton,
    Vinyals and Dean 2015, section 2). At temperature 1 the gradient is
    softmax(student) - softmax(teacher).

    >>> student, teacher = torch.tensor([[[0.5, 0.5]]]).log(), torch.tensor([[[0.8, 0.2]]]).log()
    >>> round(kl(student, teacher, 1.0).item(), 4)
    0.1927
    """
    student = F.log_softmax(student.float() / temperature, dim=-1)
    teacher = F.log_softmax(teacher.float() / temperature, dim=-1)
    return temperature ** 2 * (teacher.exp() * (teacher - student)).sum(-1)


def mse(student, teacher, temperature):
    """Mean squared error of the logits at every token: (R, T, V) twice -> (R, T).

    Its gradient is 2 (student - teacher) / V. The temperature is not used.

    >>> mse(torch.tensor([[[1.0, 2.0]]]), torch.tensor([[[1.0, 5.0]]]), 1.0).item()
    4.5
    """
    return (student.float() - teacher.float()).pow(2).mean(-1)


def hidden(student, teacher, temperature):
    """|student - teacher|^2 / |teacher|^2 at every position: (R, U, D) twice -> (R, U).

    It is 0 for a student whose states equal the teacher's, and 2 for an unrelated state of the same
    size. It is relative to the teacher's size, so that lambda need not change with the T5's
    weights. Its gradient is 2 (student - teacher) / |teacher|^2. Unlike the gradient of kl, it does
    not vanish when the student's answer is right.

    >>> hidden(torch.tensor([[[2.0, 4.0]]]), torch.tensor([[[0.0, 4.0]]]), 1.0).item()
    0.25
    """
    student = student.float()
    teacher = teacher.float()
    size = teacher.pow(2).sum(-1).clamp(min=1e-9)  # 0 at padding, which does not count
    return (student - teacher).pow(2).sum(-1) / size


@dataclasses.dataclass(frozen=True)
class Distance:
    """One entry of the table below."""

    between: object  # (student (R, U, ·), teacher (R, U, ·), temperature) -> (R, U)
    compares: str  # "logits" at the target tokens, "labels" (their log p), "memory" (the encoder's)
    scale: float = 1.0  # lambda is kd_lambda * scale
    fixed: bool = False  # whether `weight` ignores sim

    def __post_init__(self):
        if self.compares not in ("logits", "labels", "memory"):
            raise ValueError(f"a distance compares logits, labels or memory, not {self.compares!r}")


DISTANCES = {
    "kl": Distance(kl, "logits"),
    "labels": Distance(kl, "labels"),  # the softmax in kl is then over the L label scores
    "mse": Distance(mse, "logits", scale=0.01, fixed=True),
    "hidden": Distance(hidden, "memory", scale=10.0),
}


def weight(similarity, kd_lambda=1.0, distance="kl", batch=1):
    """lambda * sim, with sim clamped to [0, 1]; for a fixed distance lambda / batch.

    lambda = kd_lambda * scale. Only mse is fixed. PANDA's released code multiplies its mean squared
    error by 0.01 and divides it by the batch size, so we do the same. The scale of hidden,
    10, was chosen on other seeds than those in docs/panda.md.

    >>> [weight(sim, 2.0) for sim in (-0.2, 0.0, 0.5, 1.0)]
    [0.0, 0.0, 1.0, 2.0]
    >>> weight(0.5, distance="hidden"), weight(-0.2, distance="mse", batch=16)
    (5.0, 0.000625)
    """
    chosen = DISTANCES[distance]
    if chosen.fixed:
        return kd_lambda * chosen.scale / batch
    return kd_lambda * chosen.scale * min(max(similarity, 0.0), 1.0)


# ----------------------------------------------------------------- several sources


def normalised(similarities):
    """Weights of several teachers, with sum 1, or all 0. A similarity below 0 counts as 0.

    >>> normalised({"a": 3.0, "b": -1.0, "c": 1.0})
    {'a': 0.75, 'b': 0.0, 'c': 0.25}
    """
    clamped = {name: max(similarity, 0.0) for name, similarity in similarities.items()}
    total = sum(clamped.values()) or 1.0
    return {name: similarity / total for name, similarity in clamped.items()}


def fuse(prompts, similarities, otherwise=None):
    """The mean of prompts (P, D), weighted by similarity; `otherwise` if none is above 0.

    >>> fuse({"a": torch.tensor([[4.0]]), "b": torch.tensor([[8.0]])}, {"a": 3.0, "b": 1.0}).item()
    5.0
    """
    weights = normalised(similarities)
    if not any(weights.values()):
        return otherwise
    return sum(weights[name] * prompts[name] for name in weights)


# ------------------------------------------------------------------------- the loss


@dataclasses.dataclass
class TeacherTargets:
    """The teachers' outputs for rows of a batch. A row with two teachers is there twice."""

    rows: torch.Tensor  # (R,), which rows of the batch
    outputs: torch.Tensor  # (R, U, V) logits, (R, 1, L) label scores, or (R, U, D) hidden states
    valid: torch.Tensor  # (R, U), false at padding
    weight: torch.Tensor  # (R,), lambda * sim


@dataclasses.dataclass
class LossTerms:
    """The terms of each row's loss, (B,). A prompt's loss is the sum over its rows."""

    ce: torch.Tensor
    kd: torch.Tensor  # before its weight, summed over the row's teachers; 0 without one
    weighted_kd: torch.Tensor  # lambda * sim * KD

    @property
    def total(self):
        return self.ce + self.weighted_kd

    def of_each_prompt(self, index, N):
        """CE and KD of each prompt, (2, N), from its rows: index (B,)."""
        rows = torch.stack([self.ce, self.kd]).detach()  # (2, B)
        return rows.new_zeros(2, N).index_add(1, index, rows)


@dataclasses.dataclass
class Outputs:
    """T5's outputs for a Batch with the students' prompts in front."""

    memory: torch.Tensor  # (B, P+S, D)
    logits: torch.Tensor  # (B, T, V)
    label_scores: torch.Tensor = None  # (B, L), only for the distance `labels`

    def compared_by(self, distance, counts):
        """Two tensors: the outputs that the distance compares (B, U, ·), and over how many units
        the mean of each prompt is (N,)."""
        if distance.compares == "logits":
            return self.logits, counts.tokens
        if distance.compares == "labels":
            return self.label_scores[:, None], counts.rows
        return self.memory, counts.positions


def loss(outputs, batch, counts, teacher=None, distance=DISTANCES["kl"], temperature=1.0):
    """PANDA's loss, CE + lambda * sim * KD. Without a teacher it is that of prompt tuning, CE.

    outputs   the students' Outputs for the Batch
    counts    the prompt.Counts of the step to which the batch belongs
    teacher   the TeacherTargets for the Batch
    """
    log_probs = target_log_probs(outputs.logits, batch.targets)  # (B, T)
    ce = -log_probs.sum(1) / counts.tokens[batch.index]  # (B,)
    if teacher is None:
        return LossTerms(ce, 0 * ce, 0 * ce)
    student, units = outputs.compared_by(distance, counts)
    student = student.index_select(0, teacher.rows)  # (B, U, ·) -> (R, U, ·)
    distances = distance.between(student, teacher.outputs, temperature)  # (R, U)
    kd = (distances * teacher.valid).sum(1) / units[batch.index[teacher.rows]]  # (R,)
    return LossTerms(
        ce,
        torch.zeros_like(ce).index_add(0, teacher.rows, kd),  # (R,) -> (B,)
        torch.zeros_like(ce).index_add(0, teacher.rows, teacher.weight * kd))


# --------------------------------------------------------------------- the teachers


class Teachers:
    """The frozen teacher prompts of some students, and their outputs for examples.

    Teachers, T5 and examples do not change. So a teacher's outputs for an example are computed once
    (`precompute`) and looked up in every epoch. The cache holds the states (U, ·) of an example:

        "memory"   the encoder's hidden states (P+S, D)
        "labels"   the label scores (1, L)
        "logits"   the decoder's hidden states (T, D). The logits (T, V) are one product away, and
                   would be forty times as large at T5-base's sizes

    When `limit` bytes are cached, the rest is computed again in every step. Teachers run without
    dropout.

    t5        the T5, shared with the students
    teachers  for each student a list of (prompt (P, D), weight); it may be empty
    labels    the task's label ids (L, T), for a distance that compares label scores
    """

    def __init__(self, t5, teachers, distance=DISTANCES["kl"], labels=None, limit=2 << 30):
        if distance.compares == "labels" and labels is None:
            raise ValueError("a distance of label scores needs a task with labels, not free text")
        self.t5 = t5
        self.labels = labels
        self.distance = distance
        self.limit = limit
        self.cache = {}  # (teacher, example) -> its states (U, ·)
        self.cached_bytes = 0
        self.of_student = []  # for each student the numbers of its teachers
        self.weights = []
        prompts = []
        for pairs in teachers:
            first = len(prompts)
            self.of_student.append(list(range(first, first + len(pairs))))
            prompts += [prompt for prompt, _ in pairs]
            self.weights += [weight for _, weight in pairs]
        self.bank = None
        if prompts:
            self.bank = PromptBank(prompts).requires_grad_(False).to(t5.device)

    @torch.no_grad()
    def states_of(self, batch, index):
        """The states of a batch behind the teachers index (B,): a list of (U, ·), unpadded."""
        was_training = self.t5.training
        self.t5.eval()
        behind_teachers = dataclasses.replace(batch, index=index)
        memory, mask = encode(self.t5, self.bank, behind_teachers)
        if self.distance.compares == "logits":
            states = self.t5.decode_hidden(shift_right(batch.targets), memory, mask)
            lengths = [len(row.target) for row in batch.rows]
        elif self.distance.compares == "labels":
            states = self.t5.score_labels(memory, mask, self.labels)[:, None]  # (B, 1, L)
            lengths = [1] * len(batch.rows)
        else:
            states = memory
            lengths = [self.bank.length + len(row.ids) for row in batch.rows]
        self.t5.train(was_training)
        return [state[:length] for state, length in zip(states, lengths)]

    def precompute(self, batch):
        """Cache the states of a batch. Here the `prompt` of a row is the number of a teacher."""
        for row, states in zip(batch.rows, self.states_of(batch, batch.index)):
            size = states.numel() * states.element_size()
            if self.cached_bytes + size > self.limit:
                return
            self.cache[row.prompt, row.example] = states.clone()  # not a view of the batch
            self.cached_bytes += size

    @torch.no_grad()
    def targets(self, batch):
        """The TeacherTargets for a Batch of students; None if no row has a teacher."""
        taught = []  # (row of the batch, teacher)
        for b, row in enumerate(batch.rows):
            taught += [(b, k) for k in self.of_student[row.prompt]]
        if not taught:
            return None
        states = self.look_up(batch, taught)
        width = self.width(batch)
        padded = [F.pad(one, (0, 0, 0, width - len(one))) for one in states]
        outputs = torch.stack(padded)  # (R, U, ·)
        if self.distance.compares == "logits":
            outputs = self.t5.logits(outputs)  # (R, T, D) -> (R, T, V)
        device = batch.ids.device
        lengths = torch.tensor([len(one) for one in states]).to(device, non_blocking=True)
        valid = torch.arange(width, device=device) < lengths[:, None]  # (R, U)
        rows = torch.tensor([b for b, _ in taught]).to(device, non_blocking=True)
        weights = torch.tensor([self.weights[k] for _, k in taught]).to(device, non_blocking=True)
        return TeacherTargets(rows, outputs, valid, weights)

    def width(self, batch):
        """U of a batch: the number of units of its longest row."""
        if self.distance.compares == "logits":
            return batch.targets.shape[1]
        if self.distance.compares == "labels":
            return 1
        return self.bank.length + batch.ids.shape[1]

    def look_up(self, batch, taught):
        """The states of (row, teacher) pairs: cached, or computed now in one batch."""
        missing = [(b, k) for b, k in taught if (k, batch.rows[b].example) not in self.cache]
        computed = {}
        if missing:
            rows = torch.tensor([b for b, _ in missing], device=batch.ids.device)
            index = torch.tensor([k for _, k in missing], device=batch.ids.device)
            some = batch.select(rows, [batch.rows[b] for b, _ in missing])
            computed = dict(zip(missing, self.states_of(some, index)))
        return [computed[b, k] if (b, k) in computed else self.cache[k, batch.rows[b].example]
                for b, k in taught]
