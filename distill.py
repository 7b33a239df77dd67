"""PANDA's loss: a student prompt learns from the labels and from a teacher prompt.

Zhong et al. 2022, "PANDA: Prompt Transfer Meets Knowledge Distillation for Efficient
Model Adaptation", section 3. Both prompts stand before the same frozen T5:

    teacher   the source task's prompt, tuned on the target task, then frozen
    student   a fresh prompt

    L = CE(y, student) + lambda * sim(source, target) * KD(teacher, student)
    KD = temperature^2 * KL(softmax(z_teacher / temperature) || softmax(z_student / temperature))

Everything is a mean over the valid target tokens of one prompt's own rows, so that
padding and the way a batch is cut change nothing. A source that is unlike the
target gets a small weight, and with it the teacher it made.

Left out here: several teachers for one student.

Dimensions: B batch, T target tokens, V vocabulary.
"""

import torch
import torch.nn.functional as F


def kd_tokens(student_logits, teacher_logits, temperature=1.0):
    """temperature^2 * KL(teacher || student) at every token: logits (B, T, V) twice -> (B, T).

    The square keeps the gradient's size independent of the temperature (Hinton,
    Vinyals and Dean 2015, section 2).
    """
    if student_logits.shape != teacher_logits.shape:
        raise ValueError(f"the student's logits are {tuple(student_logits.shape)}, "
                         f"the teacher's {tuple(teacher_logits.shape)}")
    student = F.log_softmax(student_logits.float() / temperature, dim=-1)
    teacher = F.log_softmax(teacher_logits.float() / temperature, dim=-1)
    return temperature ** 2 * (teacher.exp() * (teacher - student)).sum(-1)


def kd_loss(student_logits, teacher_logits, valid, temperature=1.0):
    """The mean of `kd_tokens` over the tokens where `valid` (B, T) is true: a number.

    Raises ValueError if none is.

    >>> student, teacher = torch.tensor([[[0.5, 0.5]]]).log(), torch.tensor([[[0.8, 0.2]]]).log()
    >>> round(kd_loss(student, teacher, torch.tensor([[True]])).item(), 4)
    0.1927
    """
    valid = valid.bool()
    if not valid.any():
        raise ValueError("no valid target token to average over")
    return kd_tokens(student_logits, teacher_logits, temperature)[valid].mean()


def weight(similarity, strength=1.0):
    """lambda * sim, the similarity held to [0, 1]: an opposite source teaches nothing.

    >>> [weight(sim, 2.0) for sim in (-0.2, 0.0, 0.5, 1.0)]
    [0.0, 0.0, 1.0, 2.0]
    """
    return strength * min(max(similarity, 0.0), 1.0)


class Teachers:
    """The answers of the frozen teacher prompts, each computed once.

    The data are finite and a teacher does not change, so its logits for an example
    are kept in main memory, up to `limit` bytes; beyond that they are computed again.

    t5      the one T5, shared with the students
    bank    a PromptBank with one teacher for each student
    """

    def __init__(self, t5, bank, limit=2 << 30):
        self.t5, self.bank, self.limit = t5, bank, limit
        self.kept, self.bytes = {}, 0

    @torch.no_grad()
    def logits(self, keys, ids, mask, index, decoder_ids):
        """Teacher logits (B, T, V) for a batch.

        keys: one (prompt, example) for each row, under which its answer is kept; the
        rest is the batch as the student sees it. Positions after a row's own target
        may hold anything (zeros, when they were kept).
        """
        fresh = [b for b, key in enumerate(keys) if key not in self.kept]
        answers = {}
        if fresh:
            rows = torch.tensor(fresh, device=ids.device)
            dropout, self.t5.dropout = self.t5.dropout, 0.0  # the student's, not the teacher's
            embedded, seen = self.bank.prepend(self.t5.embed(ids[rows]), mask[rows], index[rows])
            memory = self.t5.encode(embedded, seen)
            answers = dict(zip(fresh, self.t5.decode(decoder_ids[rows], memory, seen)))
            self.t5.dropout = dropout
        T = decoder_ids.shape[1]
        result = []
        for b, key in enumerate(keys):
            if b in answers:
                answer = answers[b]
                length = 1 + int((decoder_ids[b] != 0).sum())  # the start, then the target but its eos
                if self.bytes < self.limit:
                    self.kept[key] = answer[:length].cpu().clone()  # not a view of the batch
                    self.bytes += self.kept[key].numel() * self.kept[key].element_size()
            else:
                answer = self.kept[key].to(ids.device)
            result.append(F.pad(answer, (0, 0, 0, T - len(answer))))
        return torch.stack(result)
