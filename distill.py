"""PANDA's loss: a student prompt learns from the labels and from a teacher prompt.

Zhong et al. 2022, "PANDA: Prompt Transfer Meets Knowledge Distillation for Efficient
Model Adaptation", section 3. Three prompts, one after the other, before the same frozen T5:

    source    tuned on the source task
    teacher   starts as the source, is tuned on the target, and then frozen: that is what
              train.py calls `pot`, and of its checkpoints it is the one that dev liked best
    student   starts afresh, and is tuned on the target with

        L  = CE(y, student) + lambda * sim(source, target) * KD(teacher, student)
        KD = t^2 * KL(softmax(z_teacher / t) || softmax(z_student / t)), t the temperature

`loss` is all of L. Each prompt's is a mean over the target tokens of its own rows, so that
padding, the way a batch is cut, and the other prompts of a batch change nothing.

What a similarity does: at 1 the teacher counts lambda times as much as the labels; near 0
it is hardly heard; below 0 it is 0, for an opposite source teaches nothing, and the student
is then plain prompt tuning.

One step with numbers, of a student whose two rows have one target token each (V = 2):

    z_student   [0, 0]   [0, 0]       CE = ln 2 = 0.6931 for both, whatever the label
    z_teacher   [ln 4, 0] [0, 0]      KL((.8, .2) || (.5, .5)) = 0.1927, and 0
    ce = 0.6931, kd = (0.1927 + 0) / 2 = 0.0964, and with lambda * sim = 0.5
    L  = 0.6931 + 0.5 * 0.0964 = 0.7413        (tests/test_distill.py works it out)

A new form of distillation is one function and one entry in FORMS.

Left out: several teachers for one student. They would be lists in Run.teacher and Run.weight
(`transfer` in train.py: one student, the similarities normalised to one), told one by one in
plumbing/states.py's `decided_by`; a `Teachers` for the first of each list, one for the second and
so on, each asked in `gradients`; and `loss` from `mine, valid =` to `total =` for each Teaching.

Dimensions: B batch, S source tokens, T target tokens, D model, V vocabulary, R rows that
have a teacher.
"""

import dataclasses

import torch
import torch.nn.functional as F

from model import EOS, PAD, target_log_probs
from prompt import PromptBank


def kl(student, teacher, temperature):
    """temperature^2 * KL(teacher || student) at every token: logits (R, T, V) twice -> (R, T).

    The square keeps the gradient's size independent of the temperature (Hinton, Vinyals and
    Dean 2015, section 2). At temperature 1 that gradient is softmax(student) - softmax(teacher).

    >>> student, teacher = torch.tensor([[[0.5, 0.5]]]).log(), torch.tensor([[[0.8, 0.2]]]).log()
    >>> round(kl(student, teacher, 1.0).item(), 4)
    0.1927
    """
    student = F.log_softmax(student.float() / temperature, dim=-1)
    teacher = F.log_softmax(teacher.float() / temperature, dim=-1)
    return temperature ** 2 * (teacher.exp() * (teacher - student)).sum(-1)


# name -> function(student's logits (R, T, V), teacher's, temperature) -> (R, T), a number a token.
FORMS = {"kl": kl}


def weight(similarity, strength=1.0):
    """lambda * sim, the similarity held to [0, 1].

    >>> [weight(sim, 2.0) for sim in (-0.2, 0.0, 0.5, 1.0)]
    [0.0, 0.0, 1.0, 2.0]
    """
    return strength * min(max(similarity, 0.0), 1.0)


@dataclasses.dataclass
class Teaching:
    """What teachers say to a batch: to rows (R,) of it, logits (R, T, V), of this weight (R,)."""

    rows: torch.Tensor
    logits: torch.Tensor
    weight: torch.Tensor  # lambda * sim


@dataclasses.dataclass
class Terms:
    """The loss of each row (B,), and its two terms apart; a prompt's is the sum of its rows'."""

    ce: torch.Tensor
    kd: torch.Tensor  # before its weight; 0 where there is no teacher
    total: torch.Tensor


def loss(logits, targets, share, teaching=None, form="kl", temperature=1.0):
    """PANDA's loss of a batch, CE + lambda * sim * KD; without a teaching, prompt tuning's.

    logits     (B, T, V) of the students
    targets    (B, T), pad after a row's end
    share      (B,): 1 / how many target tokens the row's prompt has in this step. So the rows
               of a prompt sum up to a mean over its tokens, in whatever parts they come
    form       of FORMS
    Raises ValueError if the teacher's logits are of another shape than the student's.
    """
    ce = -target_log_probs(logits, targets).sum(1) * share  # (B, T) -> (B,)
    kd = torch.zeros_like(ce)
    if teaching is None:
        return Terms(ce.detach(), kd, ce)
    mine, valid = logits[teaching.rows], targets[teaching.rows] != PAD
    if mine.shape != teaching.logits.shape:
        raise ValueError(f"the student's logits are {tuple(mine.shape)}, "
                         f"the teacher's {tuple(teaching.logits.shape)}")
    tokens = FORMS[form](mine, teaching.logits, temperature)  # (R, T)
    taught = (tokens * valid).sum(1) * share[teaching.rows]  # (R,)
    total = ce.index_add(0, teaching.rows, teaching.weight * taught)
    return Terms(ce.detach(), kd.index_add(0, teaching.rows, taught.detach()), total)


class Teachers:
    """The frozen teacher prompts of a pass, and a memory of their answers.

    A teacher does not change, nor do the T5 and the examples, so its answer to an example is
    computed once and not once an epoch. What is kept are the decoder's states (T, D), in main
    memory, up to `limit` bytes; beyond that they are computed again. The logits (T, V) come from
    them by one product, and would be forty times as large at T5-base's sizes.

    What would make a kept answer wrong: another prompt, another T5, another input or target.
    None can happen: the memory is as old as its pass, which has one of each, and an answer is
    kept under (student, example). Dropout is no matter, since the teacher runs without.

    t5     the one T5, shared with the students
    runs   one for each student: .start and .teacher (P, D), the latter None if it has none, and
           .weight, lambda * sim
    """

    def __init__(self, t5, runs, limit=2 << 30):
        self.t5, self.weights, self.limit = t5, [run.weight for run in runs], limit
        # A student without a teacher holds a place, so that indices fit; its weight is 0.
        prompts = [run.start if run.teacher is None else run.teacher for run in runs]
        self.bank = PromptBank(prompts).requires_grad_(False).to(t5.device)
        self.kept, self.bytes = {}, 0

    @torch.no_grad()
    def teach(self, keys, ids, mask, index, decoder_ids):
        """The Teaching for a batch as the students see it, None if no row has a teacher.

        keys: (student, example) of each row; ids and mask (B, S), index (B,), decoder_ids (B, T).
        """
        taught = [b for b, (n, _) in enumerate(keys) if self.weights[n] > 0]
        if not taught:
            return None
        rows = torch.tensor(taught, device=ids.device)
        states = self.states([keys[b] for b in taught], ids[rows], mask[rows], index[rows],
                             decoder_ids[rows])
        weights = torch.tensor([self.weights[keys[b][0]] for b in taught], device=ids.device)
        return Teaching(rows, self.t5.output(states), weights)

    def states(self, keys, ids, mask, index, decoder_ids):
        """Decoder states (R, T, D). After a row's own target they are not meant to be read."""
        fresh = [r for r, key in enumerate(keys) if key not in self.kept]
        computed = {}
        if fresh:
            rows = torch.tensor(fresh, device=ids.device)
            dropout, self.t5.dropout = self.t5.dropout, 0.0  # the student's, not the teacher's
            embedded, seen = self.bank.prepend(self.t5.embed(ids[rows]), mask[rows], index[rows])
            memory = self.t5.encode(embedded, seen)
            computed = dict(zip(fresh, self.t5.decoder_states(decoder_ids[rows], memory, seen)))
            self.t5.dropout = dropout
        T = decoder_ids.shape[1]
        result = []
        for r, key in enumerate(keys):
            if r in computed:
                states = computed[r]
                length = 1 + int((decoder_ids[r] > EOS).sum())  # the start, the target but eos
                if self.bytes < self.limit:
                    self.kept[key] = states[:length].cpu().clone()  # not a view of the batch
                    self.bytes += self.kept[key].numel() * self.kept[key].element_size()
            else:
                states = self.kept[key].to(ids.device)
            result.append(F.pad(states, (0, 0, 0, T - len(states))))
        return torch.stack(result)
