"""A CPU: which core does what, and that it keeps the memory it is given.

The products of a small T5 are too small to be shared: two threads take 0.9 of the time of one for a
prompt's step of the toy T5, but two prompts side by side 0.6 of that of one after the other.
"""

import ctypes
import functools
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby

import torch

from plumbing import product

LEAST = 256  # width of a T5 from which on products are what takes its time
CORES = torch.get_num_threads()  # OMP_NUM_THREADS, say, or as many as there are
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # of mallopt, as in glibc's malloc.h


@functools.cache
def pool():
    return ThreadPoolExecutor(CORES, initializer=torch.set_num_threads, initargs=(1,))


def small(t5):
    return t5.device.type == "cpu" and t5.config.d_model < LEAST and not t5.dropout


def together(rows, t5, whose):
    """Lists of the rows, which come prompt by prompt, each to be answered or learned from at once.

    On a GPU all of them. On a CPU each prompt's; of a small T5 as many prompts as there are for each
    core, as long as a row's numbers do not depend on those beside it (product.py). whose: row ->
    its prompt.
    """
    if t5.device.type != "cpu":
        return [rows]
    own = [list(group) for _, group in groupby(rows, whose)]
    if not small(t5) or t5.amp or not product.ONEDNN:
        return own
    dealt = [own[len(own) * k // CORES:len(own) * (k + 1) // CORES] for k in range(CORES)]
    return [sum(some, []) for some in dealt if some]


def apart(t5, cut):
    """How rows of several prompts are cut into passes: on a GPU by `cut`, which is prompt.in_parts.

    On a CPU each prompt's are cut as if it were alone, and parts that come out alike share a pass:
    so no prompt's numbers depend on the others, to the last bit. A row's key begins with its prompt.
    """
    return functools.partial(alike, cut) if t5.device.type == "cpu" else cut


def alike(cut, rows, tokens, length, overhead):
    """Passes of at most so many positions: a prompt's part, or one of several prompts' each."""
    passes = {}  # shape -> of which each is a list of rows
    for prompt, own in groupby(rows, lambda row: row[0][0]):
        for part in cut(own, tokens, length, overhead):
            shape = [max(map(len, ids)) for ids in list(zip(*part))[1:3]]  # inputs; and targets
            full = passes.setdefault(tuple(shape), [[]])
            if full[-1] and (full[-1][-1][0][0] == prompt or
                             (len(full[-1]) + len(part)) * (length + shape[0]) > tokens):
                full.append([])
            full[-1] += part
    for shape in sorted(passes):
        yield from passes[shape]


def sharing(t5):
    """How the prompts of a pass share the cores: (do, groups) -> [do(group), for each group].

    One after the other, each product by all cores. A small T5's on a CPU all at once, each by one
    core, as is all else from here on: then no number depends on how many cores there are. Not with
    dropout, which is drawn in one order.
    """
    torch.set_num_threads(1 if t5.device.type == "cpu" and t5.config.d_model < LEAST else CORES)

    def each(do, groups):
        return list((pool().map if small(t5) else map)(do, groups))

    return each


def keep_memory():
    """Have the C library keep freed memory for the next step, where it is glibc.

    Else what a step frees goes back to the system and comes back page by page: 2,500 page faults in
    a step of the toy T5, and a sixth of its time.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        mallopt(TRIM_THRESHOLD, 2 ** 31 - 1)
        mallopt(MMAP_THRESHOLD, 2 ** 25)  # the most that it takes
