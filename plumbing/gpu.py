"""A GPU, kept busy: numbers travel to it without a wait, and a whole pass is asked for at once.

T5-base's forward and backward pass are 2,400 operations. For a batch of 16 an H200 needs 15 ms for
them, and Python 93 to ask for them one by one (docs/fast.md). A CUDA graph is a recording of them,
asked for as one. It is of one shape, so a training's shapes are made to come again: rows are padded
to rounded widths, and a step is cut at quarters of its rows.
"""

import functools
import warnings
from collections import Counter

import torch
import torch.nn.functional as F

WIDTH = 32  # columns of a training's inputs, prompt counted, are a multiple of it
EIGHT = 8  # and all others of this, which suits attention there
MET = 3  # times that a shape comes before it is recorded, which takes 0.3 s
MOST = 32  # recordings: they share their memory, but each has its own inputs and outputs
LARGE = 16_384  # positions from which on a pass is worth a quarter of a minute of torch.compile
ROOM = 65_536  # positions of a pass: larger ones are no faster, by the position


def is_one(device):
    return getattr(device, "type", str(device).partition(":")[0]) == "cuda"


def columns(longest, device, step=1, before=0):
    """How many columns rows of up to `longest` tokens get, behind `before` others.

    As many; on a GPU so many that with those others they are a multiple of step.

    >>> columns(70, "cuda", 32, before=100), columns(70, "cpu", 32, before=100)
    (92, 70)
    """
    return -(-(before + longest) // step) * step - before if is_one(device) else longest


def shape(rows, device, again):
    """How prompt.in_parts is to cut so many rows: after multiples of how many, to which widths.

    On a GPU at quarters, if such a step comes again; what is only asked once at any row.

    >>> shape(16, "cuda", True), shape(30, "cuda", True), shape(30, "cuda", False)
    ((4, 32), (8, 32), (1, 8))
    >>> shape(30, "cpu", True)
    (1, 1)
    """
    if not is_one(device):
        return 1, 1
    return (-(-rows // 4), WIDTH) if again else (1, EIGHT)


def placed(numbers, device):
    """A tensor of these numbers, on the device; the host does not wait until they are there."""
    made = torch.tensor(numbers)
    return made.pin_memory().to(device, non_blocking=True) if is_one(device) else made.to(device)


def kept(config, size, recompute=False):
    """Bytes that the encoder keeps of a position for the backward pass: as in docs/fast.md.

    size: of a number in the products' type, 2 or 4; the stream is in fp32.
    """
    inner = config.num_heads * config.d_kv
    ff = config.d_ff * (3 if config.feed_forward_proj == "gated-gelu" else 1)
    block = 8 * config.d_model + size * (4 * inner + ff)
    return config.num_layers * 4 * config.d_model + block if recompute else (
        config.num_layers * block)


def room(t5, recipe):
    """Positions of one pass: 8,192; on a GPU what a third of its memory holds, beside T5's weights.

    At most ROOM. Another third is for what is recorded. Of all its memory and not of what is free,
    as another cut rounds otherwise. With dropout and in fp16, where a cut decides results, 8,192.
    """
    if not is_one(t5.device) or recipe.dropout or t5.amp == torch.float16:
        return 8192
    free = torch.cuda.get_device_properties(t5.device).total_memory - sum(
        w.numel() * w.element_size() for w in t5.parameters())
    return max(1, min(ROOM, free // 3 // kept(t5.config, 2 if t5.amp else 4, t5.recompute)))


def rms_norm(x, weight, eps):
    """model.RMSNorm in one operation; in fp32, and rounded once where it rounds twice."""
    return F.rms_norm(x.float(), x.shape[-1:], weight.float(), eps).to(weight.dtype)


class Recorder:
    """T5's forward pass, and the backward pass that belongs to it, recorded for each shape."""

    def __init__(self):
        self.compiles = True
        self.forget()

    def forget(self):
        """Give all memory back, when it is wanted for something else."""
        self.met, self.made, self.pool = Counter(), {}, None

    def __call__(self, t5, embedded, mask, decoder_ids, again=False):
        """t5(embedded, mask, decoder_ids), by its recording where there is one.

        That is on a GPU, without dropout or recompute, with T5 frozen. again: whether more than one
        backward pass will follow, which a recording cannot: the first writes over what it reads.
        """
        given = embedded, mask, decoder_ids
        if again or not is_one(embedded.device) or not embedded.requires_grad or (
                t5.dropout or t5.recompute or any(w.requires_grad for w in t5.parameters())):
            return t5(*given)
        key = t5, embedded.shape, decoder_ids.shape[1]
        self.met[key] += 1
        if key in self.made:
            self.made[key] = self.made.pop(key)  # the last of them: the first was not used longest
        elif self.met[key] > MET:
            if len(self.made) == MOST:
                oldest = next(iter(self.made))
                del self.made[oldest], self.met[oldest]
            self.made[key] = self.record(t5, *given)
        return self.made.get(key, t5)(*given)

    def record(self, t5, embedded, mask, decoder_ids):
        """The recording of one shape, of a large one with its blocks compiled.

        Compiled, what stands between two products is one operation: that saves an eighth. Where
        memory is too small for it, t5 itself.
        """
        self.pool = self.pool or torch.cuda.graph_pool_handle()  # shared: passes do not overlap
        places = embedded.detach().clone().requires_grad_(), mask.clone(), decoder_ids.clone()
        compiled = self.compiles and embedded.shape[:2].numel() >= LARGE
        if compiled:
            t5.encoder_block = functools.partial(compiled_block(type(t5)), t5)
        try:
            with warnings.catch_warnings():  # no gradients are added up in there
                warnings.filterwarnings("ignore", "The AccumulateGrad node's stream")
                warnings.filterwarnings("error", "The CUDA Graph is empty")  # of another device
                return torch.cuda.make_graphed_callables(t5.forward, places, pool=self.pool)
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            print(f"no memory to record a pass of {tuple(embedded.shape[:2])} positions: it goes "
                  "on, slower", flush=True)
            return t5
        except Exception as error:
            if not compiled:
                raise
            self.compiles = False
            print(f"not compiled ({str(error).strip().splitlines()[0]}): large passes take an "
                  "eighth longer", flush=True)
        finally:
            if compiled:
                del t5.encoder_block  # the class's own again
        return self.record(t5, embedded, mask, decoder_ids)


@functools.cache
def compiled_block(kind):
    return torch.compile(kind.encoder_block, dynamic=True)
