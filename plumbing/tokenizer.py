"""T5's tokenizer: sentencepiece, an end of text, and the sentinels of span corruption.

    tokenizer = Tokenizer("toy/t5/spiece.model")
    tokenizer.encode("cats chased dogs .")      -> [21, 78, 24, 3, 1]
    tokenizer.decode([21, 78, 24, 3, 1])        -> "cats chased dogs ."

Left out: training a vocabulary (toy/pretrain.py does), and every other kind of tokenizer.
"""

import array
import hashlib
import os
import re
from pathlib import Path

import sentencepiece
import torch

from plumbing import gpu
from plumbing.intact import check, read_json, reading, whole

PAD, EOS, UNK = 0, 1, 2  # pad is also the token that the decoder starts from
EXTRA_IDS = 100  # T5's sentinels <extra_id_0> to <extra_id_99>, above the vocabulary


def pad(rows, device="cpu", step=1, before=0):
    """Lists of token ids -> ids (B, S), filled up with pad on the right: see gpu.columns.

    >>> pad([[5, 6, 1], [7, 1]]).tolist()
    [[5, 6, 1], [7, 1, 0]]
    """
    width = gpu.columns(max(map(len, rows)), device, step, before)
    return gpu.placed([[*row, *[PAD] * (width - len(row))] for row in rows], device)


def records(content):
    """The numbers of the fields that a vocabulary has: protobuf, (number, length, bytes) each.

    sentencepiece reads one that is cut between two pieces as if there were no more.
    """
    found, head, at = set(), [], 0
    while at < len(content):
        value = shift = 0
        while content[at] >> 7:  # seven bits a byte, the lowest first
            value, shift, at = value | (content[at] & 127) << shift, shift + 7, at + 1
        head, at = [*head, value | content[at] << shift], at + 1
        if len(head) == 2:
            found.add(head[0] >> 3)
            head, at = [], at + head[1]
    return found


class Tokenizer:
    """sentencepiece with T5's end of text and its sentinels.

    The sentinels lie above the pieces, downwards: in the published vocabulary of
    32,000 pieces <extra_id_0> is 32099 and <extra_id_99> is 32000.
    """

    def __init__(self, path):
        path = Path(path)
        if not os.path.lexists(path):
            raise ValueError(f"{path} is missing: the tokenizer needs T5's spiece.model")
        with reading(path, "is no vocabulary of sentencepiece:"):
            content = path.read_bytes()
            self.sp = sentencepiece.SentencePieceProcessor()
            self.sp.load_from_serialized_proto(content)
            self.pieces = self.sp.vocab_size()
            if not {2, 3} <= records(content):  # how it was trained, how it normalises
                raise ValueError("its end is missing")
            special = self.sp.pad_id(), self.sp.eos_id(), self.sp.unk_id()
        if special != (PAD, EOS, UNK):
            raise ValueError(f"{path} is no vocabulary of T5: its pad, eos and unk are {special}, "
                             f"wanted {(PAD, EOS, UNK)}")
        config = path.with_name("config.json")
        if config.exists():
            check(config, "vocab_size", read_json(config).get("vocab_size"),
                  whole(self.pieces + EXTRA_IDS, 10 ** 6))
        self.fingerprint = hashlib.sha256(content).hexdigest()[:16]

    def encode(self, text):
        """Text -> token ids with eos at the end. A sentinel in it becomes its id."""
        if text.encode(errors="ignore").decode() != text:  # bytes of a command line
            raise ValueError(f"{text!r} is not UTF-8, wanted a text")
        ids = []
        for i, part in enumerate(re.split(r"\s*<extra_id_(\d\d?)>", text)):
            ids += [self.sentinel(int(part))] if i % 2 else self.sp.encode(part)
        return ids + [EOS]

    def encode_inputs(self, examples, longest=None):
        """(ids of each input, how many were cut): all in one go, on all cores.

        An input of more than `longest` tokens, eos counted, loses the end of its long
        part (the premise, the passage), and more only if all else alone is too long.
        The ids are arrays, a sixth of the memory of lists.
        """
        rows, cut = [], 0
        for i in range(0, len(examples), 10_000):
            some = examples[i:i + 10_000]
            for example, ids in zip(some, self.sp.encode([e.input for e in some],
                                                         num_threads=os.cpu_count())):
                if longest and len(ids) >= longest:
                    cut += 1
                    start, end = example.long
                    before, long, after = (self.sp.encode(text) for text in (
                        example.input[:start], example.input[start:end], example.input[end:]))
                    room = longest - 1 - len(before) - len(after)
                    ids = (before + long[:max(0, room)] + after)[:longest - 1]
                rows.append(array.array("i", ids + [EOS]))
        return rows, cut

    def decode(self, ids):
        """Token ids -> text, up to the first eos, without padding and sentinels."""
        ids = list(ids)
        ids = ids[:ids.index(EOS)] if EOS in ids else ids
        return self.sp.decode([i for i in ids if PAD < i < self.pieces])

    def sentinel(self, i):
        """The id of <extra_id_i>."""
        return self.pieces + EXTRA_IDS - 1 - i
