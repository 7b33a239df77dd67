"""Several processes at one command, as torchrun starts them; torch.distributed is the engine.

    torchrun --nproc_per_node=8 train.py …                  --split rows: each step's rows
    torchrun --nproc_per_node=8 train.py … --split pairs    sources, then targets, whole

By rows every process has the T5 and all prompts, and trains and scores its share of the rows; what
travels is the prompts' gradients, the losses, the answers. By pairs each works alone on the sources
and targets that it is dealt, in one --out folder, and the first of them then writes the grid from
what is there.
One process alone: the same calls, which then do nothing.
"""

import datetime
import os
import sys

import torch
import torch.distributed as dist

_split = "rows"


def start(split):
    """Join the other processes, if torchrun has started any. All but the first fall silent."""
    global _split
    _split = split
    if not os.environ.get("WORLD_SIZE", "1").isdecimal():
        raise ValueError(f"WORLD_SIZE is {os.environ['WORLD_SIZE']!r}; torchrun gives a number")
    if int(os.environ.get("WORLD_SIZE", 1)) > 1 and not dist.is_initialized():
        # Days, as by pairs one may have to wait for another's whole share; torchrun ends the rest
        # at once if one of them dies.
        dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo",
                                timeout=datetime.timedelta(days=30))
        if int(os.environ["LOCAL_RANK"]) < torch.cuda.device_count():  # nccl sends from this one
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        if dist.get_rank():
            sys.stdout = open(os.devnull, "w", encoding="utf-8")


def rank():
    return dist.get_rank() if dist.is_initialized() else 0


def size():
    return dist.get_world_size() if dist.is_initialized() else 1


def by(split):
    """Whether there are several processes, which share the work in this way."""
    return size() > 1 and _split == split


def writes():
    """Whether this process writes files: by rows all have the same to write, and one does."""
    return rank() == 0 or not by("rows")


def apart():
    """What a seed is raised by, so that processes with other rows do not drop the same numbers."""
    return rank() << 32 if by("rows") else 0


def device(where):
    """The device of this process: of a machine's GPUs one each. ValueError if they are too few."""
    if where != "cuda" or size() == 1:
        return where
    if int(os.environ["LOCAL_RANK"]) >= torch.cuda.device_count():
        raise ValueError(f"--nproc_per_node: a process takes a GPU, and this machine has "
                         f"{torch.cuda.device_count()}; give as many, or --device cpu")
    return f"cuda:{os.environ['LOCAL_RANK']}"


def wait(split):
    """Until all are here; of this way of sharing alone."""
    if by(split):
        dist.barrier()


def agreed(value, split=None):
    """The first process's value, whatever the others have found; or of one way of sharing alone."""
    values = [value]
    if size() > 1 and split in (None, _split):
        dist.broadcast_object_list(values)
    return values[0]


def turns(sources, targets):
    """The (sources, targets) that this process works on, one after the other.

    All at once; by pairs first its share of the sources, when all are done its share of the
    targets, and at last the first process everything, which it then only reads.
    """
    if not by("pairs"):
        yield sources, targets
        return
    yield sources[rank()::size()], []
    wait("pairs")
    yield sources, targets[rank()::size()]
    wait("pairs")
    yield ([], []) if rank() else (sources, targets)


def mine(rows, place):
    """This process's share of a step's rows, by the place of each row's example.

    So an example goes to the same process in every epoch, and so does what a teacher made of it.
    """
    return [row for row in rows if place(row) % size() == rank()] if by("rows") else rows


def add(parameters, *tensors):
    """Sum the gradients of the parameters, and some tensors, over all processes, in place."""
    if by("rows"):
        for p in parameters:
            p.grad = torch.zeros_like(p) if p.grad is None else p.grad
        for tensor in (*(p.grad for p in parameters), *tensors):
            dist.all_reduce(tensor)


def shared(rows, do, every):
    """do(rows), an answer for each row, the rows dealt out among all: every one has all answers.

    rows: as many, `every`, of each prompt; a process has the same places of each.
    """
    if not by("rows"):
        return do(rows)
    made, answers = [None] * size(), [None] * len(rows)
    dealt = [[at for at in range(len(rows)) if at % every % size() == k] for k in range(size())]
    dist.all_gather_object(made, do([rows[at] for at in dealt[rank()]]))
    for mine, some in zip(dealt, made):
        for at, answer in zip(mine, some):
            answers[at] = answer
    return answers
