"""The prompt bank: how it is asked and trained, its starts, its votes, its files.

    python -m pytest tests/test_prompt.py

Oracle: numbers small enough to check by eye, and each prompt alone.
"""

import doctest
import io
import itertools
import json
import os
import pickle
from pathlib import Path

import numpy
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import model
import prompt
from plumbing import cores
from plumbing.states import signed

TINY = model.Config(vocab_size=40, d_model=8, d_kv=4, d_ff=16, num_layers=2,
                    num_decoder_layers=2, num_heads=2)


def test_prepend_gives_each_row_its_own_prompt():
    # Two prompts of one vector each (N=2, P=1, D=2); two rows, the second one padded.
    bank = prompt.PromptBank([torch.tensor([[1.0, 1.0]]), torch.tensor([[2.0, 2.0]])])
    embedded = torch.tensor([[[5.0, 6.0], [7.0, 8.0]], [[9.0, 9.0], [0.0, 0.0]]])
    mask = torch.tensor([[True, True], [True, False]])
    rows, seen = bank.prepend(embedded, mask, torch.tensor([1, 0]))
    assert rows.tolist() == [[[2, 2], [5, 6], [7, 8]], [[1, 1], [9, 9], [0, 0]]]
    assert seen.tolist() == [[True, True, True], [True, True, False]]


def test_prompt_positions_come_first_and_padding_after_the_text_changes_nothing():
    # The prompt takes positions 0..P-1 and the text follows, so that columns of
    # padding on the right are as good as not there.
    t5 = model.initialise(TINY, seed=1)
    bank = prompt.PromptBank(torch.randn(1, 3, 8))
    ids = torch.tensor([[5, 6, 1]])
    wide = torch.tensor([[5, 6, 1, 0, 0, 0]])
    index = torch.tensor([0])
    with torch.no_grad():
        memory = t5.encode(*bank.prepend(t5.embed(ids), ids != 0, index))
        padded = t5.encode(*bank.prepend(t5.embed(wide), wide != 0, index))
    assert memory.shape == (1, 6, 8)
    torch.testing.assert_close(padded[:, :6], memory)


def test_shape_mistakes_are_named():
    bank = prompt.PromptBank(torch.zeros(1, 3, 4))
    with pytest.raises(ValueError, match="4 wide, the model 8"):
        bank.prepend(torch.zeros(1, 2, 8), torch.ones(1, 2), torch.tensor([0]))
    with pytest.raises(ValueError, match="one per row"):
        bank.prepend(torch.zeros(2, 2, 4), torch.ones(2, 2), torch.tensor([0]))
    with pytest.raises(ValueError, match="one shape"):
        prompt.PromptBank([torch.zeros(2, 4), torch.zeros(3, 4)])


def prompt_gradients(prompts, index, ids, targets):
    """Each prompt's gradient of the sum of the prompts' own mean losses."""
    t5 = model.initialise(TINY, seed=1).requires_grad_(False)
    bank = prompt.PromptBank(prompts)
    embedded, seen = bank.prepend(t5.embed(ids), ids != 0, index)
    logits = t5.decode(model.shift_right(targets), t5.encode(embedded, seen), seen)
    losses = -model.target_log_probs(logits, targets)  # (B, T)
    sum(losses[index == n].sum() / (targets[index == n] != 0).sum()
        for n in range(len(prompts)) if (index == n).any()).backward()
    return [p.grad for p in bank.prompts]


def test_gradients_of_prompts_together_are_those_of_prompts_alone():
    prompts = torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(0))
    ids = torch.tensor([[5, 6, 7, 1], [8, 1, 0, 0], [9, 4, 1, 0], [4, 5, 6, 1]])
    targets = torch.tensor([[7, 1], [8, 1], [9, 1], [1, 0]])
    index = torch.tensor([0, 1, 1, 0])
    together = prompt_gradients(prompts, index, ids, targets)
    for n in range(2):
        mine = index == n
        [alone] = prompt_gradients(prompts[n:n + 1], torch.zeros(2, dtype=torch.long),
                                   ids[mine], targets[mine])
        torch.testing.assert_close(together[n], alone, rtol=1e-4, atol=1e-6)



def test_two_threads_add_up_a_gradient_to_the_same_bits():
    # With prompts[index] in place of index_select, nearly every time has other bits.
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(100, 128, generator=generator)
    factors = torch.randn(64, 101, 128, generator=generator)

    def gradient():
        bank = prompt.PromptBank([start])
        rows, _ = bank.prepend(torch.zeros(64, 1, 128), torch.ones(64, 1), torch.zeros(64).long())
        (rows * factors).sum().backward()
        return bank.prompts[0].grad

    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        first = gradient()
        assert all(torch.equal(first, gradient()) for _ in range(3))
    finally:
        torch.set_num_threads(threads)


def test_a_part_of_a_bank_is_a_copy():
    bank = prompt.PromptBank([torch.full((2, 4), float(n)) for n in range(3)])
    kept, some = bank.trained(1), bank.part([2, 1])
    with torch.no_grad():
        bank.prompts[1] += 7
    assert kept.tolist() == [[1.0] * 4] * 2
    assert [p[0, 0].item() for p in some.prompts] == [2, 1] and len(some) == 2
    again = bank.holding([kept, kept])
    assert len(again) == 2 and again.length == 2 and again.prompts[1].tolist() == kept.tolist()


def test_t5_by_itself_under_the_same_interface():
    t5 = model.initialise(TINY, seed=1)
    alone = prompt.Promptless(t5)
    embedded, mask = torch.randn(2, 3, 8), torch.tensor([[1, 1, 0], [1, 1, 1]])
    rows, seen = alone.prepend(embedded, mask, torch.tensor([0, 0]))
    assert rows is embedded and seen.tolist() == mask.bool().tolist()
    assert (len(alone), alone.length) == (1, 0) and alone.part([0]) is alone
    kept = alone.trained(0)
    with torch.no_grad():
        t5.shared.weight.zero_()
    assert kept["shared.weight"].abs().sum() > 0  # a copy
    assert alone.holding([kept]) is alone
    assert torch.equal(t5.shared.weight, kept["shared.weight"])


# --------------------------------------------------------------- batches of rows


def test_parts_hold_rows_of_similar_length_within_the_budget():
    rows = [(name, [7] * length) for name, length in zip("abcde", (2, 9, 3, 8, 2))]

    def parts(tokens, length=0):
        return ["".join(name for name, _ in part) for part in prompt.in_parts(rows, tokens, length)]

    # sorted: 2 2 3 | 8 | 9; three rows of 3 would be 9 positions; a row is never split
    assert parts(8) == ["ae", "c", "d", "b"]
    # The prompt before each row and the padding are counted: three rows of 3 + 3 are 18.
    assert parts(18, length=3) == ["aec", "d", "b"]
    assert parts(17, length=3) == ["ae", "c", "d", "b"]
    assert parts(45) == ["aecdb"]  # five rows as wide as the longest
    assert parts(44) == ["aec", "db"]  # two passes in any case: 9 + 18 positions, not 32 + 9
    assert list(prompt.in_parts([], 8)) == []


def test_a_batch_is_cut_the_cheapest_way():
    """Against every way to cut it: each part costs its rows times its width, and 100."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        lengths = torch.randint(1, 250, (8,), generator=generator).sort().values.tolist()
        found = [[len(ids) for _, ids in part] for part in prompt.in_parts(
            [(None, [7] * length) for length in lengths], 10 ** 6, 20)]

        def price(parts):
            return sum(len(part) * (20 + max(part)) + 100 for part in parts)  # a prompt of 20

        ways = []
        for k in range(8):
            for cut in itertools.combinations(range(1, 8), k):
                ways.append([lengths[a:b] for a, b in itertools.pairwise((0, *cut, 8))])
        assert sum(found, []) == lengths and price(found) == min(map(price, ways))


def test_where_a_pass_costs_more_the_parts_are_larger():
    rows = [(None, [7] * length) for length in (10, 500)]
    assert [len(list(prompt.in_parts(rows, 8192, overhead=n))) for n in (100, 4000)] == [2, 1]
    small, large = (model.T5(model.Config(40, D, 4, 4 * D, 2, 2, D // 4)) for D in (8, 64))
    assert 16 < cores.overhead(large) < cores.overhead(small)


LABELS = torch.tensor([[7, 1, 0], [8, 9, 1]])


@pytest.fixture(scope="module")
def asked():
    """(T5, a bank of two, rows of two kinds in any order)."""
    t5 = model.initialise(TINY, seed=1).requires_grad_(False)
    bank = prompt.PromptBank(torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(0)))
    return t5, bank, [(1, [5, 6, 1], "pick"), (0, [9, 1], "tell"), (0, [5, 4, 7, 6, 1], "pick"),
                      (1, [9, 1], "tell"), (0, [8, 1], "pick")]


@pytest.mark.parametrize("tokens", [8192, 12])
def test_each_row_is_answered_as_if_it_were_alone(asked, tokens):
    t5, bank, rows = asked
    kinds = {"pick": (LABELS, None), "tell": (None, 4)}
    answers = prompt.ask(t5, bank, rows, kinds, tokens)
    for (n, ids, kind), answer in zip(rows, answers, strict=True):
        embedded = torch.cat([bank.prompts[n], t5.embed(torch.tensor(ids))])[None]
        mask = torch.ones(embedded.shape[:2], dtype=torch.bool)
        memory = t5.encode(embedded, mask)
        if kind == "pick":
            torch.testing.assert_close(answer, t5.score_labels(memory, mask, LABELS)[0])
        else:
            written = t5.generate(memory, mask, 4)[0].tolist()
            text, confidence = answer
            assert text[:len(written)] == written and not any(text[len(written):])
            assert confidence is None and len(text) <= 4


def test_the_confidence_of_a_text_is_the_mean_log_probability_of_its_tokens(asked):
    t5, bank, _ = asked
    [(ids, confidence)] = prompt.ask(t5, bank, [(0, [9, 1], 0)], {0: (None, 4)}, sure=True)
    embedded = torch.cat([bank.prompts[0], t5.embed(torch.tensor([9, 1]))])[None]
    mask = torch.ones(1, 5, dtype=torch.bool)
    of_text = t5.score_labels(t5.encode(embedded, mask), mask, torch.tensor([ids]))
    assert confidence == pytest.approx(of_text.item() / len(ids), rel=1e-4)


def test_confidence_does_not_count_what_stands_after_the_end(asked, monkeypatch):
    t5, bank, _ = asked
    written = torch.tensor([[7, 1, 0, 0], [5, 6, 7, 1]])
    monkeypatch.setattr(t5, "generate", lambda memory, mask, most: written[:len(memory)])
    rows = [(0, [9, 1], 0), (0, [8, 1], 0)]
    [(_, together), _] = prompt.ask(t5, bank, rows, {0: (None, 4)}, sure=True)
    monkeypatch.setattr(t5, "generate", lambda memory, mask, most: written[:1, :2])
    [(_, alone)] = prompt.ask(t5, bank, rows[:1], {0: (None, 4)}, sure=True)
    assert together == pytest.approx(alone, rel=1e-4)


def test_each_input_is_encoded_once_in_as_few_parts_as_fit(asked, monkeypatch):
    t5, bank, rows = asked
    shapes, encode = [], t5.encode
    monkeypatch.setattr(t5, "encode", lambda embedded, mask: shapes.append(tuple(
        embedded.shape[:2])) or encode(embedded, mask))
    kinds = {"pick": (LABELS, None), "tell": (None, 4)}
    prompt.ask(t5, bank, rows, kinds, apart=False)
    assert shapes == [(5, 3 + 5)]  # two prompts, two kinds, two labels: one pass
    shapes.clear()
    prompt.ask(t5, bank, rows, kinds, tokens=15, apart=False)
    assert shapes == [(3, 3 + 2), (1, 3 + 3), (1, 3 + 5)]


# ------------------------------------------------------------ initialisation


def test_uniform_start():
    start = prompt.initialise("uniform", torch.zeros(40, 8), length=100, seed=0)
    assert start.shape == (100, 8)
    assert -0.5 <= start.min() < -0.45 and 0.45 < start.max() <= 0.5
    assert torch.equal(start, prompt.initialise("uniform", torch.zeros(40, 8), 100, seed=0))
    assert not torch.equal(start, prompt.initialise("uniform", torch.zeros(40, 8), 100, seed=1))


def test_vocabulary_start_is_rows_of_the_commonest_pieces_without_replacement():
    embedding = torch.arange(6000.0)[:, None]  # row i holds the number i
    start = prompt.initialise("vocabulary", embedding, length=5000, seed=0)
    # ids 0, 1, 2 are pad, eos and unk; then come the 5,000 commonest pieces, each once
    assert sorted(start[:, 0].tolist()) == list(range(3, 5003))
    few = prompt.initialise("vocabulary", embedding, length=7, seed=0, pieces=10)
    assert sorted(few[:, 0].tolist()) == list(range(3, 10))
    with pytest.raises(ValueError, match="8 vectors cannot be drawn"):
        prompt.initialise("vocabulary", embedding, length=8, seed=0, pieces=10)


def test_label_start_is_the_mean_of_a_labels_pieces_then_vocabulary():
    embedding = torch.arange(20.0)[:, None]
    start = prompt.initialise("labels", embedding, length=4, seed=0, labels=[[4], [6, 8]])
    assert start[:2, 0].tolist() == [4, 7]  # "one piece" and the mean of two
    plain = prompt.initialise("vocabulary", embedding, length=4, seed=0)
    assert torch.equal(start[2:], plain[2:])
    with pytest.raises(ValueError, match="with labels"):
        prompt.initialise("labels", embedding, length=4, seed=0)
    with pytest.raises(ValueError, match="unknown initialisation 'zeros'"):
        prompt.initialise("zeros", embedding, length=4, seed=0)


# ------------------------------------------------------------------- on disk


def test_a_prompt_is_written_in_the_layout_of_peft(tmp_path):
    vectors = torch.randn(3, 8)
    prompt.save(tmp_path / "toy-cb-0", vectors, {"task": "toy-cb", "fingerprint": "abc"}, "toy/t5")
    adapter = json.loads((tmp_path / "toy-cb-0" / "adapter_config.json").read_text())
    assert adapter["peft_type"] == "PROMPT_TUNING" and adapter["task_type"] == "SEQ_2_SEQ_LM"
    assert (adapter["num_virtual_tokens"], adapter["token_dim"]) == (3, 8)
    with safe_open(tmp_path / "toy-cb-0" / "adapter_model.safetensors", "pt") as file:
        assert list(file.keys()) == ["prompt_embeddings"]
        assert torch.equal(file.get_tensor("prompt_embeddings"), vectors)
    read, made_by = prompt.load(tmp_path / "toy-cb-0", fingerprint="abc")
    assert torch.equal(read, vectors) and made_by["task"] == "toy-cb"
    # Written again, the folder is replaced, and nothing else is left lying about.
    prompt.save(tmp_path / "toy-cb-0", vectors + 1, {"task": "toy-cb"})
    assert torch.equal(prompt.load(tmp_path / "toy-cb-0")[0], vectors + 1)
    assert [path.name for path in tmp_path.iterdir()] == ["toy-cb-0"]


def test_a_prompt_of_another_model_is_refused_and_both_are_named(tmp_path):
    prompt.save(tmp_path / "p", torch.zeros(3, 8), {"task": "cb", "fingerprint": "abc"})
    with pytest.raises(ValueError, match="abc.*these are xyz"):
        prompt.load(tmp_path / "p", fingerprint="xyz")
    with pytest.raises(ValueError, match="lacks adapter_model.safetensors"):
        prompt.load(tmp_path)


# ---------------------------------------------------------- starts from elsewhere

EMBEDDING = torch.arange(20.0).view(10, 2)  # row i is (2i, 2i + 1)


def test_text_start_is_its_pieces_over_and_over():
    start = prompt.initialise("text", EMBEDDING, 5, seed=0, text=[7, 3])
    assert start.tolist() == [[14, 15], [6, 7], [14, 15], [6, 7], [14, 15]]
    cut = prompt.initialise("text", EMBEDDING, 1, seed=0, text=[7, 3])
    assert cut.tolist() == [[14, 15]]
    for unknown in ([], [7, 2, 3]):  # 2 is what the vocabulary makes of a snowman
        with pytest.raises(ValueError, match="one whose pieces are all known"):
            prompt.initialise("text", EMBEDDING, 2, seed=0, text=unknown)


ARRAY = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]  # P = 2, D = 3


def written(tmp_path, how):
    """ARRAY in a file of this kind."""
    array = torch.tensor(ARRAY)
    path = tmp_path / {"npy": "p.npy", "pt": "p.pt", "named": "q.pt"}.get(how, how)
    if how == "npy":
        numpy.save(path, array.numpy())
    elif how in ("pt", "named"):
        torch.save(torch.nn.Parameter(array) if how == "pt" else {"prompt_embeddings": array}, path)
    else:
        prompt.save(path, array, {"task": "cb", "fingerprint": "f"})
        if how != "ours":  # PEFT writes no prompt.json
            (path / "prompt.json").unlink()
        if how == "bin":
            (path / "adapter_model.safetensors").unlink()
            torch.save({"prompt_embeddings": array}, path / "adapter_model.bin")
    return path


@pytest.mark.parametrize("how", ["npy", "pt", "named", "ours", "peft", "bin"])
def test_start_from_a_trained_prompt(tmp_path, how):
    path = written(tmp_path, how)
    found = prompt.from_file(path, "f", (2, 3))
    assert found.tolist() == ARRAY and found.dtype == torch.float32 and not found.requires_grad
    with pytest.raises(ValueError, match=r"\(2, 3\), wanted \(5, 3\)"):
        prompt.from_file(path, "f", (5, 3))


def test_a_start_that_is_none_is_named(tmp_path):
    with pytest.raises(ValueError, match="model and tokenizer f, these are g"):
        prompt.from_file(written(tmp_path, "ours"), "g")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="adapter_model.safetensors"):
        prompt.from_file(tmp_path / "empty")
    with pytest.raises(ValueError, match="notes.txt: there is no such file or folder"):
        prompt.from_file(tmp_path / "notes.txt")
    (tmp_path / "notes.txt").write_text("1 2 3")
    with pytest.raises(ValueError, match="notes.txt is no prompt"):
        prompt.from_file(tmp_path / "notes.txt")
    torch.save({"a": torch.zeros(2, 3), "b": torch.zeros(2, 3)}, tmp_path / "two.pt")
    with pytest.raises(ValueError, match="no single array"):
        prompt.from_file(tmp_path / "two.pt")
    numpy.save(tmp_path / "nan.npy", numpy.full((2, 3), numpy.nan))
    with pytest.raises(ValueError, match="not finite"):
        prompt.from_file(tmp_path / "nan.npy")


def test_a_prompt_of_peft_with_vectors_before_the_decoder_is_refused(tmp_path):
    folder = written(tmp_path, "peft")
    config = json.loads((folder / "adapter_config.json").read_text())
    config["num_transformer_submodules"] = 2
    (folder / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="before the decoder"):
        prompt.from_file(folder)


# What stands in place of ARRAY, and why it is refused.
NO_PROMPTS = [
    (torch.zeros(1, 2, 3), r"shape \(1, 2, 3\), wanted \(P, D\)"), (torch.zeros(6), "shape"),
    (torch.zeros(0, 3), "no vectors"), (torch.full((2, 3), float("inf")), "not finite"),
    (torch.tensor(ARRAY).double() * 1e300, "not finite"), (torch.ones(2, 3) + 1j, "complex64"),
    (torch.ones(2, 3, dtype=torch.int8), "int8"), (torch.ones(2, 3, dtype=torch.bool), "bool"),
    (torch.ones(2, 3).to(torch.float8_e5m2), "float8")]


@pytest.mark.parametrize("how, content, message", [
    (how, *one) for how in ("npy", "pt", "ours", "peft") for one in NO_PROMPTS
    if (how, one[1]) != ("npy", "float8")])  # numpy has no such numbers
def test_numbers_that_are_no_prompt_are_named(how, content, message, tmp_path):
    path = written(tmp_path, how)
    if how == "npy":
        numpy.save(path, content.numpy())
    elif how == "pt":
        torch.save(content, path)
    else:
        save_file({"prompt_embeddings": content}, path / "adapter_model.safetensors")
    with pytest.raises(ValueError, match=f"(p.npy|p.pt|safetensors) holds .*{message}"):
        prompt.from_file(path)


class Stowaway:
    """Pickled, it would make a folder wherever it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("made",)


def pickled(value):
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


FILES = pytest.mark.parametrize("how, name", [
    ("npy", "p.npy"), ("pt", "p.pt"), ("ours", "ours/adapter_model.safetensors"),
    ("ours", "ours/prompt.json"), ("peft", "peft/adapter_model.safetensors"),
    ("peft", "peft/adapter_config.json"), ("bin", "bin/adapter_model.bin")])


@pytest.mark.parametrize("damage", [
    lambda whole: b"", lambda whole: whole[:30], lambda whole: b"nothing of the kind" * 9,
    lambda whole: b"[" * 10 ** 5, lambda whole: pickle.dumps(Stowaway()),
    lambda whole: pickled({"prompt_embeddings": Stowaway()}), lambda whole: pickled([1, 2]),
    lambda whole: pickled({"prompt_embeddings": torch.zeros(1).expand(10 ** 6, 10 ** 6)})])  # 4 TB
@FILES
def test_a_damaged_file_is_named_and_nothing_in_it_is_executed(
        how, name, damage, tmp_path, monkeypatch):
    path, file = written(tmp_path, how), tmp_path / name
    monkeypatch.chdir(tmp_path)
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(ValueError, match=f"{name} [^\n]*$"):
        prompt.from_file(path)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("nowhere")])
@FILES
def test_what_is_no_file_is_not_waited_for(how, name, make, tmp_path):
    path, file = written(tmp_path, how), tmp_path / name
    file.unlink()
    make(file)
    with pytest.raises(ValueError, match=name):
        prompt.from_file(path)


@pytest.mark.parametrize("old, new", [
    (b"(2, 3)", b"(9, 3)"), (b"(2, 3)", b"(99999999999, 3)"), (b"(2, 3)", b"(1, 3)"),
    (b"'<f4'", b"'|O'"), (b"'<f4'", b"'<U1'"), (b"'<f4'", b"'<c8'")])
def test_an_array_is_as_long_as_its_header_tells(old, new, tmp_path):
    path = written(tmp_path, "npy")
    path.write_bytes(path.read_bytes().replace(old, new))
    with pytest.raises(ValueError, match="p.npy "):
        prompt.from_file(path)


@pytest.mark.parametrize("field, value", [
    ("task", None), ("task", ["cb"]), ("fingerprint", 5), ("fingerprint", None), ("vectors", None),
    ("vectors", "abc"), ("score", "90"), ("seed", 1.5), ("recipe", []), ("decided_by", "x"),
    ("recipe", {"max_input": "512"}), ("recipe", {"held_out": 2}), ("result", 7), ("result", {}),
    ("result", {"score": 1.0, "curve": [[1]], "seconds": 1.0, "trained": 1, "memory": 1}),
    ("result", {"score": 1.0, "curve": [], "seconds": 1.0, "trained": 1, "memory": 1, "x": 1})])
def test_a_field_of_prompt_json_that_is_missing_or_of_another_type_is_named(field, value, tmp_path):
    path = written(tmp_path, "ours")
    made_by = json.loads((path / "prompt.json").read_text()) | {field: value}
    made_by = {name: value for name, value in made_by.items()
               if value is not None and name != "digest"}
    (path / "prompt.json").write_text(json.dumps(signed(made_by)))
    with pytest.raises(ValueError, match=f"{field}|its vectors are not those"):
        prompt.load(path, "f")


def test_what_prompt_json_tells_is_what_was_written(tmp_path):
    path = written(tmp_path, "ours")
    told = path / "prompt.json"
    told.write_text(json.dumps(json.loads(told.read_text()), sort_keys=True))  # the same, otherwise
    prompt.load(path)
    told.write_text(told.read_text().replace('"task": "', '"task": "toy-'))
    with pytest.raises(ValueError, match="prompt.json is damaged: it does not tell what was wri"):
        prompt.load(path)


@pytest.mark.parametrize("field, value", [
    ("peft_type", "PREFIX_TUNING"), ("num_virtual_tokens", 3), ("token_dim", "3")])
def test_a_folder_of_peft_that_says_something_else_is_refused(field, value, tmp_path):
    path = written(tmp_path, "peft")
    config = json.loads((path / "adapter_config.json").read_text()) | {field: value}
    (path / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=f"adapter_config.json: {field} is .*; wanted "):
        prompt.from_file(path)


# --------------------------------------------------------------------- the votes


def log_probs(*prompts):
    """(N, 1, L) of each prompt's probabilities of one example's labels."""
    return torch.tensor([[list(p)] for p in prompts]).log()


@pytest.mark.parametrize("prompts, majority, mean", [
    ([(0.6, 0.4), (0.6, 0.4), (0.1, 0.9)], 0, 1),   # two against one; means 0.43 and 0.57
    ([(0.6, 0.4), (0.1, 0.9)], 1, 1),               # a tie: 0.06 against 0.36 as products
    ([(0.9, 0.05, 0.05), (0.05, 0.9, 0.05), (0.3, 0.25, 0.45)], 0, 0),  # three, one vote each
    # Labels 0 and 1 tie with two votes each; label 2 has the best sum but only one vote.
    ([(0.5, 0.01, 0.49), (0.5, 0.01, 0.49), (0.01, 0.5, 0.49), (0.01, 0.6, 0.39),
      (0.1, 0.1, 0.8)], 1, 2),
])
def test_votes(prompts, majority, mean):
    scores = log_probs(*prompts)
    assert prompt.vote(scores).item() == majority
    assert prompt.vote(scores, "mean").item() == mean


def test_a_prompts_scores_need_not_sum_to_one_to_have_one_vote():
    # The rest of the probability went to texts that are no label: 0.02, 0.03 are 0.4 and 0.6.
    assert prompt.vote(log_probs((0.02, 0.03), (0.52, 0.48)), "mean").item() == 1


def test_examples_in_the_docstrings():
    result = doctest.testmod(prompt)
    assert result.attempted > 0 and result.failed == 0
