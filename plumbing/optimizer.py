"""The optimisers of prompts: Lester's Adafactor, and the AdamW of PANDA's released code.

Written here and not torch.optim's, whose first use imports torch's compiler: two seconds of each
start on an older processor (docs/fast.md). Each prompt of a bank has its own rate and state. With
that, and with a loss that is averaged over its own rows, it is trained as if it were alone.
"""

import math

import torch


class Optimizer:
    """One step for each prompt that has a gradient.

    Has what a training loop and a GradScaler use of torch.optim's. Rates are not in its state: the
    loop sets them before each step.
    """

    def __init__(self, prompts, lr, weight_decay=0.0):
        self.param_groups = [{"params": [p], "lr": lr} for p in prompts]
        self.state = {p: {"step": 0} for [p] in (group["params"] for group in self.param_groups)}
        self.weight_decay = weight_decay

    def zero_grad(self):
        for p in self.state:
            p.grad = None

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            [p] = group["params"]
            if p.grad is not None:
                self.state[p]["step"] += 1
                p.mul_(1 - group["lr"] * self.weight_decay)
                self.move(p, group["lr"], self.state[p])

    def move(self, p, lr, state):
        """A step of one prompt (P, D), in place; state: what is remembered of it, and its step."""
        raise NotImplementedError

    def state_dict(self):
        return {"state": dict(enumerate(self.state.values()))}

    def load_state_dict(self, kept):
        for n, (p, mine) in enumerate(self.state.items()):
            mine |= {name: one.to(p.device) if name != "step" else int(one)
                     for name, one in kept["state"].get(n, {}).items()}


class Adafactor(Optimizer):
    """Adafactor as Lester et al. 2021 use it for prompts: not factored, no parameter scaling.

        v  <- d v + (1 - d) (g^2 + 1e-30)        d = 1 - t^-0.8
        u  =  g / sqrt(v),  scaled down to a root mean square of at most 1
        p  <- p - lr u - lr * weight_decay * p

    There are two Adafactors, and they are not the same:

                     this one, for prompts       torch.optim.Adafactor, for model tuning
        v            a number for each number    a row times a column for each matrix
        a step       lr                          lr times the tensor's root mean square
        why          a prompt is small, and      the state of 11 billion weights must be small,
                     has to grow                 and small weights should take small steps

    Source: Shazeer and Stern 2018, algorithm 4, with section 7.2's decay.
    """

    def move(self, p, lr, state):
        v, d = state.setdefault("v", torch.zeros_like(p)), 1 - state["step"] ** -0.8
        v.mul_(d).add_(p.grad ** 2 + 1e-30, alpha=1 - d)
        update = p.grad / v.sqrt()
        update /= (update.pow(2).mean().sqrt()).clamp(min=1.0)
        p.sub_(update, alpha=lr)


class AdamW(Optimizer):
    """AdamW: a step of lr where gradients agree, of less where they do not.

        m  <- b m + (1 - b) g,   v  <- c v + (1 - c) g^2        b = 0.9, c = 0.999
        p  <- p - lr m' / (sqrt(v') + 1e-8) - lr * weight_decay * p

    m' = m / (1 - b^t) and v' = v / (1 - c^t): averages that started from 0. On a CPU to the last
    bit torch.optim.AdamW's. Source: Loshchilov and Hutter 2019, algorithm 2.
    """

    def move(self, p, lr, state):
        m, v = (state.setdefault(name, torch.zeros_like(p)) for name in ("exp_avg", "exp_avg_sq"))
        m.lerp_(p.grad, 1 - 0.9)
        v.mul_(0.999).addcmul_(p.grad, p.grad, value=1 - 0.999)
        size = (v.sqrt() / math.sqrt(1 - 0.999 ** state["step"])).add_(1e-8)
        p.addcdiv_(m, size, value=-lr / (1 - 0.9 ** state["step"]))


KINDS = {"adafactor": Adafactor, "adamw": AdamW}


def of(recipe, prompts):
    """The recipe's, for these prompts."""
    return KINDS[recipe.optimizer](prompts, recipe.lr, recipe.weight_decay)


def rate(recipe, step, steps):
    """Of step 0, 1, …: constant, or half a cosine from lr to 0.

    0 after a run's last step: it has no rows any more, but Adam's momentum would go on.
    """
    constant = recipe.schedule == "constant"
    share = 1.0 if constant else 0.5 * (1 + math.cos(math.pi * step / steps))
    return recipe.lr * share if step < steps else 0.0
