"""How a training step is carried out, and how rows are scored.

    engine = Engine(t5, tokens=4096)
    losses = engine.backward(loss_of, rows, step, bank)   forward and backward of a step's rows
    engine.update(optimizer)                              the optimiser's step
    answers = engine.map(answer, rows, length)            one answer for each row

A row is one example behind one prompt (it has `prompt`, `example`, `ids`). The engine splits rows
into micro-batches of similar length. So there is little padding, and a micro-batch fits into
memory. The engine also handles mixed precision and its loss scale, dropout with a seed for each
step, CUDA graphs on a GPU, faster products on a CPU, and the sharing of rows among processes.

The loss of a step is a sum over rows. So the split changes only rounding.
"""

import math
import re
import sys
import time

import torch

from plumbing import cuda_graphs, fast_cpu, processes

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
WIDE = 256  # a T5 of this width or more is worth cutting a step by length on a CPU
CPU_TOKENS = 4096  # positions of a micro-batch: what more would need leaves the processor's cache
SPLIT_TOKENS = 8192  # on a GPU, where the split decides results: one number for all GPUs
GPU_TOKENS = 65_536  # at most: larger ones are no faster by the position
PROGRESS_EVERY = 10  # seconds between two lines of a long scoring


def split_by_length(rows, tokens, chunks=1, before=0):
    """Rows sorted by length, in equal chunks, each in equal micro-batches of at most `tokens`.

    A micro-batch is as wide as its longest row and the `before` positions of a prompt.

    >>> from types import SimpleNamespace as Row
    >>> rows = [Row(ids=[7] * n) for n in (10, 200, 12, 190)]
    >>> [[len(row.ids) for row in some] for some in split_by_length(rows, 8192, chunks=2)]
    [[10, 12], [190, 200]]
    >>> [[len(row.ids) for row in some] for some in split_by_length(rows, 380, chunks=2)]
    [[10, 12], [190], [200]]
    """
    rows = sorted(rows, key=lambda row: len(row.ids))
    size = max(1, math.ceil(len(rows) / chunks))
    for start in range(0, len(rows), size):
        chunk = rows[start:start + size]
        width = before + len(chunk[-1].ids)
        most = max(1, tokens // width)  # rows of a micro-batch
        pieces = math.ceil(len(chunk) / most)
        even = math.ceil(len(chunk) / pieces)
        for first in range(0, len(chunk), even):
            yield chunk[first:first + even]


class Engine:
    """Carries out the steps of one T5.

    tokens   positions of a micro-batch, prompt and padding counted; None: what the device suits
    dropout  in the T5 while training
    """

    def __init__(self, t5, tokens=None, dropout=0.0):
        self.t5 = t5
        self.device = t5.device
        self.is_gpu = self.device.type == "cuda"
        self.dropout = dropout
        self.tokens = tokens or self.default_tokens()
        self.rows_per_pass = self.default_rows()
        # On a GPU widths are rounded up, so that shapes come again and can be recorded.
        self.multiple = cuda_graphs.WIDTH if self.is_gpu else 1
        self.graphs = cuda_graphs.Recorder()
        # For fp16 only, and one for all prompts of a bank: if any gradient overflows, the step of
        # all of them is left out and the scale is halved.
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=t5.amp == torch.float16)
        t5.set_dropout(dropout)
        fast_cpu.install(t5)

    def default_tokens(self):
        """On a GPU what a third of its memory holds beside T5; with dropout or fp16 a constant,
        because there the split decides results."""
        if not self.is_gpu:
            return CPU_TOKENS
        if self.dropout or self.t5.amp == torch.float16:
            return SPLIT_TOKENS
        total = torch.cuda.get_device_properties(self.device).total_memory
        weights = sum(w.numel() * w.element_size() for w in self.t5.parameters())
        per_position = cuda_graphs.bytes_per_position(self.t5.config, 2 if self.t5.amp else 4)
        return max(1, min(GPU_TOKENS, (total - weights) // 3 // per_position))

    def default_rows(self):
        """Rows of a pass when nothing is trained: few save padding, many save starting costs."""
        if self.is_gpu:
            return 256
        return 8 if self.t5.config.d_model >= WIDE else 64

    def chunks(self, rows, before):
        """Into how many chunks of similar length a step's rows are cut."""
        if not self.is_gpu:
            return 4 if self.t5.config.d_model >= WIDE else 1
        # A pass costs a GPU as much as some thousand positions (docs/fast.md).
        positions = sum(before + len(row.ids) for row in rows)
        return min(4, max(1, positions // 8192))

    # ------------------------------------------------------------------ training

    def forward(self, embedded, mask, decoder_ids):
        """T5's memory (B, P+S, D) and logits (B, T, V), by a recorded CUDA graph if it has one."""
        return self.graphs(self.t5, embedded, mask, decoder_ids)

    def backward(self, loss_of, rows, step, bank):
        """Add a step's gradients to the bank's parameters: of the summed losses of its rows.

        loss_of: list of rows -> (their summed loss, losses (…, N) to report).
        Returns the reported losses, added up over all rows.
        """
        rows = processes.share(rows, lambda row: row.example)
        if self.dropout:
            torch.manual_seed(step + (processes.rank() << 32))  # the same after a resume
        self.t5.train(self.dropout > 0)
        reported = torch.zeros(2, len(bank), device=self.device)
        chunks = self.chunks(rows, bank.length)
        for some in split_by_length(rows, self.tokens, chunks, bank.length):
            try:
                loss, losses = loss_of(some)
                self.scaler.scale(loss).backward()
            except torch.OutOfMemoryError as error:
                raise ValueError(f"out of memory with --tokens {self.tokens}: give fewer "
                                 f"({str(error).splitlines()[0]})") from None
            reported += losses.detach()
        self.t5.eval()
        for p in bank.parameters():
            if p.grad is None:  # this process had no row
                p.grad = torch.zeros_like(p)
        processes.add_up([reported] + [p.grad for p in bank.parameters()])
        return reported

    def update(self, optimizer):
        """The optimiser's step, with the loss scale of fp16 taken out of the gradients."""
        self.scaler.step(optimizer)
        self.scaler.update()
        optimizer.zero_grad()

    # ------------------------------------------------------------------ answering

    def for_each(self, act, rows, before=0):
        """act(some rows) for micro-batches of this process's rows. Where it takes long, says so."""
        rows = processes.share(rows, lambda row: row.example)
        chunks = max(1, math.ceil(len(rows) / self.rows_per_pass))
        last_print = time.monotonic()
        done = 0
        for some in split_by_length(rows, self.tokens, chunks, before):
            act(some)
            done += len(some)
            if time.monotonic() - last_print > PROGRESS_EVERY and processes.rank() == 0:
                last_print = time.monotonic()
                print(f"{done:,} of {len(rows):,} rows", file=sys.stderr, flush=True)

    @torch.no_grad()
    def map(self, answer, rows, before=0):
        """answer(some rows) -> a list with one answer for each; all answers in the rows' order."""
        answers = {}

        def keep_answers(rows):
            for row, one in zip(rows, answer(rows)):
                answers[row.prompt, row.example] = one

        self.for_each(keep_answers, rows, before)
        answers = processes.gather(answers)
        return [answers[row.prompt, row.example] for row in rows]


# -------------------------------------------------------------- device and dtype


def choose_device(device=None):
    """(device, why). Raises ValueError for one that is not there."""
    if device is None:
        if torch.cuda.is_available():
            return "cuda", "found"
        return "cpu", "no GPU found"
    if not re.fullmatch(r"cpu|cuda(:\d+)?|mps|xpu(:\d+)?", device):
        raise ValueError(f"unknown device {device!r}: cpu, cuda, cuda:1, …")
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0][:100]
        if reason.startswith("Could not run 'aten"):  # what torch's dispatcher says
            reason = "this torch is not built for it"
        raise ValueError(f"--device {device} cannot be used here: {reason}; give --device "
                         "cpu") from None
    if device.startswith("cuda:"):
        torch.cuda.set_device(device)  # graphs are recorded on the current one
    return device, "asked for"


def choose_dtype(device, dtype, config):
    """The type of the products: as asked for; else bf16 where the device computes in it."""
    is_gpu = device.startswith("cuda")
    if dtype == "fp16" and not is_gpu:
        raise ValueError("--dtype fp16 needs a GPU; on a CPU use fp32 or bf16")
    if dtype:
        return dtype
    if config.d_model < WIDE:
        return "fp32"  # too small to be faster in another
    if is_gpu:
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    has_bf16 = device == "cpu" and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return "bf16" if has_bf16 and torch.cpu._is_avx512_bf16_supported() else "fp32"
