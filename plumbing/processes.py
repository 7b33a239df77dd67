"""One command in several processes, started by torchrun, connected by torch.distributed.

    torchrun --nproc_per_node=8 train.py …                  --split rows: share the rows of a step
    torchrun --nproc_per_node=8 train.py … --split pairs    share the sources, then the targets

With `rows`, every process has the T5 and all prompts, and trains and scores its share of the rows.
The processes exchange gradients of the prompts, losses and answers. With `pairs`, each process
works alone on its share of the sources and targets. All write to one --out folder, and the first
process then writes the grid from the results there. In a single process these functions do nothing.
"""

import datetime
import os
import sys

import torch
import torch.distributed as dist

MINUTES = datetime.timedelta(minutes=10)  # for an answer in a step
DAYS = datetime.timedelta(days=30)  # by pairs, for another's share; if one dies, all end at once
_split = "rows"


def start(split):
    """Join the other processes, if torchrun has started any. All but the first print nothing."""
    global _split
    _split = split
    world = os.environ.get("WORLD_SIZE", "1")
    if not world.isdecimal():
        raise ValueError(f"WORLD_SIZE is {world!r}, wanted a number, as torchrun sets it")
    if int(world) == 1 or dist.is_initialized():
        return
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, timeout=MINUTES)
    if torch.cuda.is_available():
        torch.cuda.set_device(local_rank())  # nccl sends from this one
    if rank() > 0:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")


def rank():
    return dist.get_rank() if dist.is_initialized() else 0


def size():
    return dist.get_world_size() if dist.is_initialized() else 1


def local_rank():
    return int(os.environ.get("LOCAL_RANK", "0"))


def shares_by(split):
    """Whether there are several processes, which share the work in this way."""
    return size() > 1 and _split == split


def is_writer():
    """Whether this process writes files. By rows all have the same to write, and one does."""
    return rank() == 0 or not shares_by("rows")


def device(name):
    """The device of this process: one GPU of the machine each. Raises ValueError."""
    if name == "cpu" and shares_by("rows"):
        print("--split rows on a CPU is usually slower than one process on all its cores",
              flush=True)
    if name != "cuda" or size() == 1:
        return name
    count = torch.cuda.device_count()
    if local_rank() >= count:
        raise ValueError("--nproc_per_node: each process takes a GPU, and this machine has "
                         f"{count}; give as many, or --device cpu")
    return f"cuda:{local_rank()}"


def all_agree(value, what):
    """Raise ValueError in every process if this value is not the same in all of them."""
    if size() == 1:
        return
    values = [None] * size()
    dist.all_gather_object(values, value)
    for other, theirs in enumerate(values):
        if theirs != values[0]:
            raise ValueError(f"{what} differs between process 0 and process {other}: give all "
                             "processes the same files and flags, and one --out that all can see")


def from_first(value):
    """By rows, the first process's value in all of them."""
    if not shares_by("rows"):
        return value
    values = [value]
    dist.broadcast_object_list(values)
    return values[0]


# ---------------------------------------------------------------------- by rows


def share(rows, number):
    """This process's share of rows, by a number of each: number(row) modulo the processes.

    So an example goes to the same process in every epoch, and so does its teacher's answer.
    """
    if not shares_by("rows"):
        return rows
    return [row for row in rows if number(row) % size() == rank()]


def add_up(tensors):
    """Sum each tensor over all processes, in place."""
    if shares_by("rows"):
        for tensor in tensors:
            dist.all_reduce(tensor)


def gather(answers):
    """Merge dicts: {row: answer} of all processes."""
    if not shares_by("rows"):
        return answers
    shares = [None] * size()
    dist.all_gather_object(shares, answers)
    merged = {}
    for answers in shares:
        merged.update(answers)
    return merged


# ---------------------------------------------------------------------- by pairs


def turns(sources, targets):
    """The (sources, targets) that this process works on, one after the other.

    All at once; by pairs first its share of the sources, when all are done its share of the
    targets, and at last the first process everything, which by then it only reads.
    """
    if not shares_by("pairs"):
        yield sources, targets
        return
    yield sources[rank()::size()], []
    wait_for_all()
    yield sources, targets[rank()::size()]
    wait_for_all()
    yield (sources, targets) if rank() == 0 else ([], [])


def wait_for_all():
    dist.monitored_barrier(timeout=DAYS)
