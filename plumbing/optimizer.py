"""Adafactor as Lester et al. 2021 use it for prompts, and the learning rate of each step.

AdamW, and Adafactor for model tuning, are torch.optim's. The two Adafactors differ (v is the mean
square of the gradient):

                 this one, for prompts       torch.optim.Adafactor, for model tuning
    v            one number for each weight  a row times a column for each matrix
    step size    lr                          lr times the root mean square of the tensor
    why          a prompt is small, and      the state of 11 billion weights must be small,
                 has to grow                 and small weights should take small steps
"""

import math

import torch


class Adafactor(torch.optim.Optimizer):
    """Not factored, without parameter scaling, for a bank of prompts (N, P, D).

        v  <- d v + (1 - d) (g^2 + 1e-30)        d = 1 - t^-0.8
        u  =  g / sqrt(v),  scaled down to a root mean square of at most 1
        p  <- (1 - weight_decay) p - lr u

    The root mean square is each prompt's own, so that each is trained as if it were alone. The
    decay is not multiplied by lr, as in the released prompt-tuning run.
    Source: Shazeer and Stern 2018, algorithm 4, with section 7.2's decay.
    """

    def __init__(self, params, lr, weight_decay=0.0):
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self.update(p, group["lr"], group["weight_decay"])

    def update(self, p, lr, weight_decay):
        """One step of a parameter (N, P, D), in place."""
        state = self.state[p]
        if not state:
            state["step"] = 0
            state["v"] = torch.zeros_like(p)
        state["step"] += 1
        v = state["v"]
        decay = 1 - state["step"] ** -0.8
        v.mul_(decay).add_(p.grad ** 2 + 1e-30, alpha=1 - decay)
        update = p.grad / v.sqrt()
        rms = update.pow(2).mean(dim=(1, 2), keepdim=True).sqrt()  # (N, 1, 1)
        update /= rms.clamp(min=1.0)
        p.mul_(1 - weight_decay).sub_(update, alpha=lr)


def of_prompts(name, params, lr, weight_decay):
    """The optimiser of this name for a bank of prompts."""
    if name == "adafactor":
        return Adafactor(params, lr, weight_decay)
    return torch.optim.AdamW(params, lr, weight_decay=weight_decay)


def scheduled(schedule, lr, step, steps):
    """The rate of step 0, 1, … of `steps`: constant, or half a cosine from lr down to 0.

    >>> scheduled("cosine", 0.3, 50, 100)
    0.15
    """
    if schedule == "constant":
        return lr
    return lr * 0.5 * (1 + math.cos(math.pi * step / steps))


def set_rate(optimizer, schedule, lr, step, steps):
    """Give the optimiser the rate of this step."""
    for group in optimizer.param_groups:
        group["lr"] = scheduled(schedule, lr, step, steps)


def state_bytes(optimizer):
    """Bytes of the parameters, their gradients and the optimiser's state."""
    tensors = []
    for group in optimizer.param_groups:
        for p in group["params"]:
            tensors += [p, p]  # the gradient is as large
            tensors += [one for one in optimizer.state[p].values() if torch.is_tensor(one)]
    return sum(one.numel() * one.element_size() for one in tensors)
