"""PANDA's loss: a student prompt learns from the labels and from teacher prompts.

Zhong et al. 2022, "PANDA: Prompt Transfer Meets Knowledge Distillation for Efficient
Model Adaptation", section 3. Three prompts, one after the other, before the same frozen T5:

    source    tuned on the source task
    teacher   starts as the source, is tuned on the target, and then frozen: that is what
              train.py calls `pot`, and of its checkpoints it is the one that dev liked best
    student   starts afresh, and is tuned on the target with

        L = CE(y, student) + lambda * sim(source, target) * KD(teacher, student)

What KD compares is what this project adds to the paper. There it is a KL of answers, and an answer
says little that the label does not: on the inputs that it was tuned on, a teacher is nearly always
right. So both terms pull the same way, and an optimiser that divides a gradient by its size does
not see that two pull (docs/panda.md). What a source taught is in how T5 reads the input. FORMS:

    kl        t^2 * KL(softmax(z_teacher / t) || softmax(z_student / t)) at the target's tokens,
              t the temperature: the paper's
    mse       squared error of the logits there, of a small fixed weight: the paper's released code
    states    squared error of the encoder's states, at the text and at the prompt's own positions,
              as a share of the teacher's: ours
    text      the same at the text only

`loss` is all of L. Each prompt's is a mean over the target tokens, or positions, of its own rows,
so that padding, the way a batch is cut, and the other prompts of a batch change nothing. A
similarity of 1 makes the teacher count lambda times as much as the labels; below 0 it is 0, for an
opposite source teaches nothing, and the student is then plain prompt tuning.

One step with numbers, of a student whose two rows have one target token each (V = 2):

    z_student   [0, 0]   [0, 0]       CE = ln 2 = 0.6931 for both, whatever the label
    z_teacher   [ln 4, 0] [0, 0]      KL((.8, .2) || (.5, .5)) = 0.1927, and 0
    ce = 0.6931, kd = (0.1927 + 0) / 2 = 0.0964, and with lambda * sim = 0.5
    L  = 0.6931 + 0.5 * 0.0964 = 0.7413        (tests/test_distill.py works it out)

Several sources: `fuse` them into the start of one teacher (early fusion), or give the student a
teacher for each (late fusion). A new form of distillation is one function and one entry in FORMS.

Dimensions: B batch, S source tokens, T target tokens, P prompt length, D model, V vocabulary,
R rows that have a teacher, U units of a row: its target tokens or its positions.
"""

import dataclasses
import threading
from operator import mul

import torch
import torch.nn.functional as F

from model import PAD, pad, shift_right, target_log_probs
from plumbing import gpu
from prompt import PromptBank, ask

# ----------------------------------------------------------------- what is compared


@dataclasses.dataclass
class Made:
    """What the frozen T5 makes of rows behind their prompts."""

    memory: torch.Tensor  # (B, P+S, D), the encoder's states
    length: int  # P
    logits: torch.Tensor = None  # (B, T, V)

    def at(self, place):
        """What a form compares: "targets" (B, T, V), "text" (B, S, D) or "all" (B, P+S, D)."""
        if place == "targets":
            return self.logits
        return self.memory[:, self.length:] if place == "text" else self.memory


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


def mse(student, teacher, temperature):
    """Mean squared error of the logits at every token: (R, T, V) twice -> (R, T).

    Its gradient is 2 (student - teacher) / V, at any temperature.

    >>> mse(torch.tensor([[[1.0, 2.0]]]), torch.tensor([[[1.0, 5.0]]]), 1.0).item()
    4.5
    """
    return (student.float() - teacher.float()).pow(2).mean(-1)


def states(student, teacher, temperature):
    """|student - teacher|^2 / |teacher|^2 at every position: (R, U, D) twice -> (R, U).

    A share, so that a T5 of other weights needs no other lambda: 0 for a student that reads as its
    teacher does, 2 for one at random. Its gradient is 2 (student - teacher) / |teacher|^2: unlike
    that of an answer it does not vanish where the student is right.

    >>> states(torch.tensor([[[2.0, 4.0]]]), torch.tensor([[[0.0, 4.0]]]), 1.0).item()
    0.25
    """
    student, teacher = student.float(), teacher.float()
    return (student - teacher).pow(2).sum(-1) / teacher.pow(2).sum(-1).clamp(min=1e-9)


@dataclasses.dataclass(frozen=True)
class Form:
    """One entry of the table below."""

    distance: object  # (student's (R, U, ·), teacher's, temperature) -> a number a unit, (R, U)
    at: str  # "targets", "text" or "all": see Made.at
    size: float = 1.0  # what lambda is a multiple of
    fixed: bool = False  # whether the weight is the same for every source

    def units(self, ids, target, length):
        """How many numbers a row gives: input ids, target ids, prompt length."""
        return len(target) if self.at == "targets" else len(ids) + (self.at == "all") * length


FORMS = {"kl": Form(kl, "targets"), "mse": Form(mse, "targets", 0.01, fixed=True),
         "states": Form(states, "all", 10.0), "text": Form(states, "text", 10.0)}


def weight(similarity, strength=1.0, form="kl", batch=1):
    """lambda * sim, the similarity held to [0, 1]; of a fixed form lambda / batch.

    strength is lambda in sizes of the form: 0.01 for mse, which the released code divides by the
    batch once more; 10 for states, chosen on other seeds than docs/panda.md reports.

    >>> [weight(sim, 2.0) for sim in (-0.2, 0.0, 0.5, 1.0)]
    [0.0, 0.0, 1.0, 2.0]
    >>> weight(0.5, form="states"), weight(-0.2, form="mse", batch=16)
    (5.0, 0.000625)
    """
    form = FORMS[form]
    return strength * form.size * (1 / batch if form.fixed else min(max(similarity, 0.0), 1.0))


# ----------------------------------------------------------------- several sources


def normalised(similarities):
    """Weights of several teachers that sum to one, 0 for those below 0; all 0 if none is above.

    >>> normalised({"a": 3.0, "b": -1.0, "c": 1.0})
    {'a': 0.75, 'b': 0.0, 'c': 0.25}
    """
    held = {name: max(similarity, 0.0) for name, similarity in similarities.items()}
    return {name: one / (sum(held.values()) or 1.0) for name, one in held.items()}


def fuse(prompts, similarities, otherwise=None):
    """The average of prompts (P, D) by their similarities; `otherwise` if none is above 0.

    >>> fuse({"a": torch.tensor([[4.0]]), "b": torch.tensor([[8.0]])}, {"a": 3.0, "b": 1.0}).item()
    5.0
    """
    parts = normalised(similarities)
    return sum(parts[name] * prompts[name] for name in parts) if any(parts.values()) else otherwise


# ----------------------------------------------------------------------- the runs


@dataclasses.dataclass(frozen=True)
class Run:
    """One prompt to be trained, or, without a start, all of T5."""

    name: str  # "pot toy-nli", say: approach and source
    seed: int
    steps: int
    start: torch.Tensor = None  # (P, D)
    teachers: tuple = ()  # of (prompt (P, D), weight): frozen, and lambda * similarity

    def __post_init__(self):  # a teacher of weight 0 teaches nothing
        object.__setattr__(self, "teachers", tuple(t for t in self.teachers if t[1] > 0))


def students(recipe, form, wanted, seed, fresh, sources, sims, best):
    """The Runs of one seed's students with one form of distillation.

    fresh: a start (P, D); sources: name -> prompt (P, D); sims: name -> similarity; best: name of
    approach -> the prompt (P, D) that it came to.
    """
    kind = "" if form == "kl" else f"_{form}"

    def student(name, *teachers, start=fresh):
        return Run(f"panda{name}", seed, recipe.steps, start, tuple(
            (best[teacher], part * weight(sim, recipe.strength, form, recipe.batch))
            for teacher, sim, part in teachers))

    runs = []
    if "panda" in wanted:
        runs += [student(f"{kind} {name}", (f"pot {name}", sims[name], 1.0),
                         start=source if recipe.student_init == "source" else fresh)
                 for name, source in sources.items()]
    if "fusion" in wanted:
        parts = normalised(sims)  # of 1, by similarity
        likeness = sum(parts[name] * sims[name] for name in sims)  # the mean, by these parts
        runs += [student(f"_early{kind}", ("pot_early", likeness, 1.0)),
                 student(f"_late{kind}", *((f"pot {n}", 1.0, parts[n]) for n in sims))]
    if "controls" in wanted:
        runs.append(student(f"_self{kind}", ("prompt_2x", 1.0, 1.0)))
    return runs


# ------------------------------------------------------------------------- the loss


def shares(rows, count, form, length):
    """Of each of `count` students, 1 / its target tokens and 1 / its units in a step, two lists.

    rows: ((student, example), input ids, target ids, whether the target is its label). Rows of
    these shares add up to a mean over their student's, in whatever parts they come.
    """
    tokens, units = [0] * count, [0] * count
    for (n, _), ids, target, labelled in rows:
        tokens[n] += labelled * len(target)
        units[n] += form.units(ids, target, length)
    return [[1 / one if one else 0.0 for one in ones] for ones in (tokens, units)]


@dataclasses.dataclass
class Rows:
    """A part of a step: B rows, each an example before a student."""

    keys: tuple  # of (student, example)
    ids: torch.Tensor  # (B, S), of the inputs
    targets: torch.Tensor  # (B, T), pad after a row's end
    index: torch.Tensor  # (B,), the student's place in the bank
    share: torch.Tensor  # (B,), 1 / the target tokens of its student's step; 0 without a label
    unit: torch.Tensor  # (B,), 1 / what its form compares in that step

    @classmethod
    def of(cls, rows, tokens, units, device="cpu", length=0):
        """Of such rows behind prompts of a length, and their `shares`."""
        keys, ids, targets, labelled = zip(*rows)
        students = [n for n, _ in keys]
        return cls(keys, pad(ids, device, gpu.WIDTH, length), pad(targets, device, gpu.EIGHT), *(
            gpu.placed(numbers, device) for numbers in (
                students, [tokens[n] * has for n, has in zip(students, labelled)],
                [units[n] for n in students])))


@dataclasses.dataclass
class Teaching:
    """What teachers make of rows (R,) of a part; a row of two teachers is there twice."""

    rows: torch.Tensor
    made: torch.Tensor  # (R, U, V) or (R, U, D)
    valid: torch.Tensor  # (R, U), false at padding
    weight: torch.Tensor  # (R,), lambda * sim


@dataclasses.dataclass
class Terms:
    """The loss of each row (B,), and its two terms apart; a prompt's is the sum of its rows'."""

    ce: torch.Tensor
    kd: torch.Tensor  # before its weight, of all its teachers; 0 where there is none
    total: torch.Tensor


def loss(made, rows, teaching=None, form=FORMS["kl"], temperature=1.0):
    """PANDA's loss, CE + lambda * sim * KD; without a teaching, prompt tuning's.

    made: what the students make of the Rows; form: a Form.
    """
    ce = -target_log_probs(made.logits, rows.targets).sum(1) * rows.share  # (B, T) -> (B,)
    if teaching is None:
        return Terms(ce, torch.zeros_like(ce), ce)
    mine = made.at(form.at).index_select(0, teaching.rows)
    numbers = form.distance(mine, teaching.made, temperature)  # (R, U)
    taught = (numbers * teaching.valid).sum(1) * rows.unit[teaching.rows]  # (R,)
    kd = torch.zeros_like(ce).index_add(0, teaching.rows, taught)
    return Terms(ce, kd, ce.index_add(0, teaching.rows, teaching.weight * taught))


# --------------------------------------------------------------------- the teachers


class Teachers:
    """The frozen teacher prompts of a pass, and a memory of what they make of examples.

    A teacher does not change, nor do the T5 and the examples, so what it makes of an example is
    computed once and not once an epoch. It is kept where T5 is, up to `limit` bytes; beyond that
    it is computed again, which is said. For a form of logits these are the decoder's states (T, D):
    the logits (T, V) come from them by one product, and would be forty times as large at T5-base's
    sizes. For a form of states they are the encoder's, (S, D) or (P+S, D).

    A kept answer is never another's: the memory is as old as its pass, which has one T5 and one
    form, and what is kept is kept under (teacher, example). Teachers run without dropout.

    t5     the one T5, shared with the students
    runs   one for each student: its .teachers are (prompt (P, D), weight), none or several
    """

    def __init__(self, t5, runs, form="kl", limit=2 << 30):
        self.t5, self.form, self.limit = t5, FORMS[form], limit
        taught = [(n, *teacher) for n, run in enumerate(runs) for teacher in run.teachers]
        self.of = [[k for k, (m, _, _) in enumerate(taught) if m == n] for n in range(len(runs))]
        self.weights = [weight for _, _, weight in taught]
        prompts = [prompt for _, prompt, _ in taught]
        self.bank = prompts and PromptBank(prompts).requires_grad_(False).to(t5.device)
        self.kept, self.bytes, self.lock = {}, 0, threading.Lock()
        self.told, self.right = {}, [None] * len(runs)

    def listen(self, task, runs, batch, tokens, each=map):
        """Ask the teachers once, before a pass, for what is not asked of them in every step.

        right   of each run: the percentage of its first 200 labelled examples that its teachers
                answer with the label, a mean by weight
        told    for a form that compares answers, (run, example) -> the answer of its heaviest
                teacher to an input without a label, as ids: the target there (Kim and Rush 2016,
                "Sequence-Level Knowledge Distillation")
        """
        def answers(k, places):
            rows = [(k, task.inputs[i], "all") for i in places]
            kinds = {"all": task.kind(self.t5.device)}
            return zip(places, task.told(ask(self.t5, self.bank, rows, kinds, tokens)))

        def hear(n):
            run, weights = runs[n], [self.weights[k] for k in self.of[n]]
            mine = task.mine(run.seed)[:200]
            hits = [sum(answer == task.train[i][1] for i, answer in answers(k, mine))
                    for k in self.of[n]]
            self.right[n] = round(100 * sum(map(mul, weights, hits)) / sum(weights) / len(mine), 4)
            if self.form.at == "targets":
                heaviest = self.of[n][weights.index(max(weights))]
                self.told |= {(n, i): answer for i, answer in answers(heaviest, sorted({
                    i for step in range(run.steps) for i in task.free(run.seed, step, batch)}))}

        list(each(hear, [n for n in range(len(runs)) if self.of[n]]))

    @torch.no_grad()
    def teach(self, rows):
        """The Teaching for Rows as the students see them, None if no row has a teacher."""
        pairs = [(b, k) for b, (n, _) in enumerate(rows.keys) for k in self.of[n]]
        if not pairs:
            return None
        device = rows.ids.device
        taught, index = (gpu.placed(both, device) for both in zip(*pairs))
        keys = [(k, rows.keys[b][1]) for b, k in pairs]
        ids, targets = rows.ids[taught], rows.targets[taught]
        valid = (targets if self.form.at == "targets" else ids) != PAD
        if self.form.at == "all":  # every prompt vector is there
            valid = F.pad(valid, (self.bank.length, 0), value=True)
        made = self.remembered(keys, ids, targets, index, valid)
        if self.form.at == "targets":
            made = self.t5.output(made)  # (R, T, D) -> (R, T, V)
        weights = gpu.placed([self.weights[k] for _, k in pairs], device)
        return Teaching(taught, made, valid, weights)

    def remembered(self, keys, ids, targets, index, valid):
        """States (R, U, D) of teacher index[r], 0 where they are not valid (R, U)."""
        fresh, width = [r for r, key in enumerate(keys) if key not in self.kept], valid.shape[1]
        lengths = valid.sum(1).tolist() if fresh else ()  # which waits for a GPU
        made = self.compute(ids[fresh], targets[fresh], index[fresh]) if fresh else ()
        computed = {r: one[:lengths[r]] for r, one in zip(fresh, made)}
        with self.lock:  # several students may learn at once
            for r, states in computed.items():
                if self.bytes < self.limit and keys[r] not in self.kept:
                    self.kept[keys[r]] = states.clone()  # not a view of the batch
                    self.bytes += states.numel() * states.element_size()
                    if self.bytes >= self.limit:
                        print(f"the teachers' memory is full ({self.limit / 2**30:.1f} GiB, "
                              f"{len(self.kept)} answers); the rest is computed again", flush=True)
        rows = (computed[r] if r in computed else self.kept[key] for r, key in enumerate(keys))
        return torch.stack([F.pad(states, (0, 0, 0, width - len(states))) for states in rows])

    def compute(self, ids, targets, index):
        """The decoder's states (R, T, D), or those of the encoder that the form compares."""
        dropout, self.t5.dropout = self.t5.dropout, 0.0  # the student's, not the teacher's
        embedded, seen = self.bank.prepend(self.t5.embed(ids), ids != PAD, index)
        if self.form.at == "targets":
            _, made = self.t5(embedded, seen, shift_right(targets))
        else:
            made = Made(self.t5.encode(embedded, seen), self.bank.length).at(self.form.at)
        self.t5.dropout = dropout
        return made
