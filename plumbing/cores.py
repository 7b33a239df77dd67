"""A CPU: which core does what, and that it keeps the memory it is given.

The products of a small T5 are too small to be shared: two threads are hardly faster at one than
one is, while two prompts side by side take little longer than one.
"""

import ctypes
import functools
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby

import torch

from plumbing import gpu, product
from plumbing.product import LEAST

# What starting a pass costs, in multiply-adds. On an H200: 4.7 ms beside 1.4 us a position.
START = {"cpu": 1e8, "cuda": 3e11}
FEW = 128  # rows from which on a pass of the toy T5 costs little but its rows
CORES = torch.get_num_threads()  # OMP_NUM_THREADS, say, or as many as there are
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # of mallopt, as in glibc's malloc.h


@functools.cache
def pool():
    return ThreadPoolExecutor(CORES, initializer=torch.set_num_threads, initargs=(1,))


def small(t5):
    return t5.device.type == "cpu" and t5.config.d_model < LEAST and not t5.dropout


def apart(config):
    """Whether in all products of such a T5 each row has the same bits beside any others."""
    D, K, inner = config.d_model, config.d_kv, config.num_heads * config.d_kv
    return (bool(product.ONEDNN) and product.alike_heads(config.num_heads, K)
            and all(product.alike(*pair) for one in (
                (D, inner), (D, config.d_ff), (D, K), (D, config.vocab_size))
                for pair in (one, one[::-1])))


def together(rows, t5, whose):
    """Lists of the rows, which come prompt by prompt, each to be answered or learned from at once.

    On a GPU all of them. On a CPU each prompt's; of a small T5 those of several prompts, about FEW
    rows or more, but a list for each core: where no row's numbers depend on those beside it
    (`apart`) but by how they are padded (`passes`). whose: row -> its prompt.
    """
    if t5.device.type != "cpu":
        return [rows]
    own = [list(group) for _, group in groupby(rows, whose)]
    if not small(t5) or t5.amp or not apart(t5.config):
        return own
    many = min(len(own), max(CORES, len(rows) // FEW))
    return [sum(own[len(own) * k // many:len(own) * (k + 1) // many], []) for k in range(many)]


def overhead(t5):
    """What a pass costs beside its positions, in positions: see prompt.in_parts.

    Its small operations take START multiply-adds, its weights 16 positions (docs/fast.md). Not
    measured at each start: another cut rounds otherwise, and no run would repeat.
    """
    blocks = sum(w.numel() for w in t5.encoder.parameters())
    return 16 + round(START.get(t5.device.type, START["cuda"]) / blocks)


def passes(cut, t5, rows, tokens, length, again=False):
    """Rows ((prompt, …), input ids, …) of several prompts as lists that go through T5 at once.

    On a GPU by `cut`, which is prompt.in_parts; again: whether such rows come again. On a CPU each
    prompt's rows are cut as if alone, and parts that come out alike, of one prompt each, share a
    pass of at most so many positions: so no prompt's numbers depend on the others, to the last bit.
    """
    more = overhead(t5)
    if t5.device.type != "cpu":
        yield from cut(rows, tokens, length, more, *gpu.shape(len(rows), t5.device, again))
        return
    shared = {}  # shape -> passes
    for prompt, own in groupby(rows, lambda row: row[0][0]):
        for part in cut(own, tokens, length, more):
            shape = [max(map(len, ids)) for ids in list(zip(*part))[1:3]]  # inputs; and targets
            full = shared.setdefault(tuple(shape), [[]])
            if full[-1] and (full[-1][-1][0][0] == prompt or
                             (len(full[-1]) + len(part)) * (length + shape[0]) > tokens):
                full.append([])
            full[-1] += part
    for shape in sorted(shared):
        yield from shared[shape]


def sharing(t5):
    """How the prompts of a pass share the cores: (do, groups) -> [do(group), for each group].

    A large T5's one after the other, each product by all cores. A small T5's on a CPU all at once,
    each by one core, as is all else in this process from here on: then no number depends on how
    many cores there are. With dropout, which is drawn in one order, one after the other by one.
    """
    keep_memory()
    torch.set_num_threads(1 if t5.device.type == "cpu" and t5.config.d_model < LEAST else CORES)

    def each(do, groups):
        return list((pool().map if small(t5) else map)(do, groups))

    return each


def keep_memory():
    """Have the C library keep freed memory for the next step, where it is glibc.

    Else what a step frees goes back to the system and comes back page by page: 2,500 page faults in
    a step of the toy T5.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        mallopt(TRIM_THRESHOLD, 2 ** 31 - 1)
        mallopt(MMAP_THRESHOLD, 2 ** 25)  # the most that it takes
