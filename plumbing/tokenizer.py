"""T5's tokenizer: sentencepiece, the end-of-text token, and the sentinels of span corruption.

    >>> tokenizer = Tokenizer("toy/t5/spiece.model")
    >>> tokenizer.encode("cats chased dogs .")
    [21, 78, 24, 3, 1]
    >>> tokenizer.decode([21, 78, 24, 3, 1])
    'cats chased dogs .'

Left out: training a vocabulary (toy/pretrain.py does this), tokens that were added to a vocabulary
(a tokenizer with such tokens is refused), and all other kinds of tokenizers.
"""

import hashlib
import os
import re
from pathlib import Path

import sentencepiece

from plumbing.files import naming, read_json

PAD, EOS, UNK = 0, 1, 2  # pad is also the token that the decoder starts from
EXTRA_IDS = 100  # T5's sentinels <extra_id_0> to <extra_id_99>, above the vocabulary
SENTINEL = re.compile(r"<extra_id_([1-9]?\d)>")
SOURCE = "https://huggingface.co/google-t5/t5-small/resolve/main/spiece.model"


class Tokenizer:
    """The vocabulary in a spiece.model.

    The sentinels lie above the pieces, downwards: in the published vocabulary of 32,000 pieces
    <extra_id_0> is 32099 and <extra_id_99> is 32000. A config.json beside the vocabulary must
    have room for all of them, and a tokenizer of transformers beside it must know no others.

    sp            the SentencePieceProcessor
    pieces        how many pieces the vocabulary has, without sentinels
    fingerprint   a short name: equal for equal files
    """

    def __init__(self, path):
        path = Path(path)
        content = read_vocabulary(path)
        self.sp = sentencepiece.SentencePieceProcessor()
        try:
            self.sp.load_from_serialized_proto(content)
        except RuntimeError as error:
            raise ValueError(f"{path} is no vocabulary of sentencepiece, is the download "
                             f"complete? {str(error).splitlines()[0]:.100}") from None
        special = (self.sp.pad_id(), self.sp.eos_id(), self.sp.unk_id())
        wanted = (PAD, EOS, UNK)
        if special != wanted:
            raise ValueError(f"{path} is no vocabulary of T5: its pad, eos and unk are {special}, "
                             f"wanted {wanted}")
        self.pieces = self.sp.vocab_size()
        self.fingerprint = hashlib.sha256(content).hexdigest()[:16]
        self.check_model(path.with_name("config.json"))
        self.check_added(path.parent)

    def encode(self, text):
        """Text -> token ids with eos at the end. A sentinel in the text becomes its id."""
        return self.encode_all([text])[0]

    def encode_all(self, texts):
        """A list of texts -> a list of their ids, as `encode` gives them, on all cores."""
        for text in texts:
            if text != text.encode(errors="ignore").decode():  # stray bytes of a command line
                raise ValueError(f"{text!r} is not UTF-8, wanted a text")
        rows = self.sp.encode(texts, num_threads=os.cpu_count())
        for i, text in enumerate(texts):
            if SENTINEL.search(text):
                rows[i] = self.encode_with_sentinels(text)
        return [row + [EOS] for row in rows]

    def encode_with_sentinels(self, text):
        ids = []
        # "a <extra_id_5> b" -> "a ", "5", " b": every second one is the number of a sentinel.
        for i, span in enumerate(SENTINEL.split(text)):
            if i % 2:
                ids.append(self.sentinel(int(span)))
            else:
                ids.extend(self.sp.encode(span))
        return ids

    def decode(self, ids):
        """Token ids -> text, up to the first eos, without padding and sentinels."""
        ids = list(ids)
        if EOS in ids:
            ids = ids[:ids.index(EOS)]
        return self.sp.decode([i for i in ids if PAD < i < self.pieces])

    def sentinel(self, i):
        """The id of <extra_id_i>."""
        return self.pieces + EXTRA_IDS - 1 - i

    def check_model(self, config):
        """Raise ValueError if the T5 beside the vocabulary has fewer rows than there are ids."""
        if not config.exists():
            return
        rows = read_json(config).get("vocab_size")
        least = self.pieces + EXTRA_IDS
        if type(rows) is not int or rows < least:
            raise ValueError(f"{config}: vocab_size is {rows!r:.80}; wanted a whole number from "
                             f"{least}, for {self.pieces} pieces and {EXTRA_IDS} sentinels")

    def check_added(self, folder):
        """Raise ValueError if files of transformers add tokens that spiece.model lacks."""
        strange = [token for token in added_tokens(folder)
                   if not SENTINEL.fullmatch(token) and not self.has_piece(token)]
        if strange:
            raise ValueError(f"{folder} has a tokenizer with tokens that spiece.model lacks, "
                             f"which is not supported: {', '.join(map(repr, strange)):.200}; "
                             "use a T5 with the published vocabulary")

    def has_piece(self, piece):
        return self.sp.id_to_piece(self.sp.piece_to_id(piece)) == piece


def read_vocabulary(path):
    """The bytes of a spiece.model. Raises ValueError."""
    if path.is_file():
        with naming(path, "cannot be read"):
            return path.read_bytes()
    if path.with_name("tokenizer.json").exists():
        raise ValueError(f"{path} is missing, and the tokenizer.json beside it is not read: copy "
                         f"spiece.model from the T5 that this one was made of, as from {SOURCE}")
    raise ValueError(f"{path} is missing, or no file: the tokenizer needs T5's spiece.model")


def added_tokens(folder):
    """The tokens that transformers would add to a vocabulary, from three files if they exist.

    added_tokens.json        {"<extra_id_0>": 32099, …}
    tokenizer_config.json    {"added_tokens_decoder": {"32099": {"content": "<extra_id_0>"}, …},
                              "additional_special_tokens": ["<extra_id_0>", …]}; of transformers 5
                             the second is "extra_special_tokens"
    tokenizer.json           {"added_tokens": [{"id": 32099, "content": "<extra_id_0>"}, …]}
    """
    tokens = list(read_optional(folder / "added_tokens.json"))
    for file, key in (("tokenizer_config.json", "added_tokens_decoder"),
                      ("tokenizer_config.json", "additional_special_tokens"),
                      ("tokenizer_config.json", "extra_special_tokens"),
                      ("tokenizer.json", "added_tokens")):
        entries = read_optional(folder / file).get(key) or []
        try:
            for entry in entries.values() if isinstance(entries, dict) else entries:
                tokens.append(entry if isinstance(entry, str) else entry["content"])
        except (TypeError, KeyError):
            raise ValueError(f"{folder / file}: {key} is {str(entries):.80}, wanted tokens; T5 "
                             "needs spiece.model only, so delete the file") from None
    return tokens


def read_optional(path):
    return read_json(path) if path.exists() else {}
