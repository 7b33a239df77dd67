"""The cores of a CPU: each product by all of them, or each prompt by one.

The products of a small T5 are too small to be shared: two threads take 0.9 of the time of one for a
prompt's step of the toy T5, but two prompts side by side 0.6 of that of one after the other.
"""

import functools
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby

import torch

LEAST = 256  # width of a T5 from which on products are what takes its time
CORES = torch.get_num_threads()  # OMP_NUM_THREADS, say, or as many as there are


@functools.cache
def pool():
    return ThreadPoolExecutor(CORES, initializer=torch.set_num_threads, initargs=(1,))


def together(rows, t5, whose):
    """Lists of the rows, which come prompt by prompt, that share forward passes: on a GPU all.

    On a CPU N prompts cost N times one anyway, so there each has passes of its own, and with them
    the same numbers, to the last bit, whatever is trained beside it. whose: row -> its prompt.
    """
    return [rows] if t5.device.type != "cpu" else [list(g) for _, g in groupby(rows, whose)]


def sharing(t5):
    """How the prompts of a pass share the cores: (do, groups) -> [do(group), for each group].

    One after the other, each product by all cores. A small T5's on a CPU all at once, each by one
    core, as is all else from here on: then no number depends on how many cores there are. Not with
    dropout, which is drawn in one order.
    """
    small = t5.device.type == "cpu" and t5.config.d_model < LEAST
    torch.set_num_threads(1 if small else CORES)

    def each(do, groups):
        return list((pool().map if small and not t5.dropout else map)(do, groups))

    return each
