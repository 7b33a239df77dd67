"""The prompt bank, its starts and its files.

    python -m pytest tests/test_prompt.py

Oracle: numbers small enough to check by eye, and each prompt trained alone.
"""

import doctest
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy
import pytest
import torch
from safetensors import safe_open

import data
import model
import prompt

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
    prompt.save(tmp_path / "toy-cb-0", vectors + 1, {"fingerprint": "abc"})
    assert torch.equal(prompt.load(tmp_path / "toy-cb-0")[0], vectors + 1)
    assert [path.name for path in tmp_path.iterdir()] == ["toy-cb-0"]


def test_a_prompt_of_another_model_is_refused_and_both_are_named(tmp_path):
    prompt.save(tmp_path / "p", torch.zeros(3, 8), {"fingerprint": "abc"})
    with pytest.raises(ValueError, match="abc.*these are xyz"):
        prompt.load(tmp_path / "p", fingerprint="xyz")
    with pytest.raises(ValueError, match="lacks adapter_model.safetensors"):
        prompt.load(tmp_path)


# ---------------------------------------------------------- starts from elsewhere

EMBEDDING = torch.arange(20.0).view(10, 2)  # row i is (2i, 2i + 1)


def test_text_start_is_its_pieces_over_and_over():
    start = prompt.initialise("text", EMBEDDING, 5, seed=0, text=[7, 3])
    assert start.tolist() == [[14, 15], [6, 7], [14, 15], [6, 7], [14, 15]]
    assert prompt.initialise("text", EMBEDDING, 1, seed=0, text=[7, 3]).tolist() == [[14, 15]]  # cut
    with pytest.raises(ValueError, match="at least one piece"):
        prompt.initialise("text", EMBEDDING, 2, seed=0, text=[])


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
        if how == "peft":  # PEFT writes no prompt.json
            (path / "prompt.json").unlink()
    return path


@pytest.mark.parametrize("how", ["npy", "pt", "named", "ours", "peft"])
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
    (folder / "adapter_config.json").write_text(json.dumps(config | {"num_transformer_submodules": 2}))
    with pytest.raises(ValueError, match="before the decoder"):
        prompt.from_file(folder)


# --------------------------------------------------------------------- the votes


def log_probs(*prompts):
    """(N, 1, L) of each prompt's probabilities of one example's labels."""
    return torch.tensor([[list(p)] for p in prompts]).log()


@pytest.mark.parametrize("prompts, majority, mean", [
    ([(0.6, 0.4), (0.6, 0.4), (0.1, 0.9)], 0, 1),   # two against one; means 0.43 and 0.57
    ([(0.6, 0.4), (0.1, 0.9)], 1, 1),               # a tie: 0.06 against 0.36 as products
    ([(0.9, 0.05, 0.05), (0.05, 0.9, 0.05), (0.3, 0.25, 0.45)], 0, 0),  # three, one vote each
    # Labels 0 and 1 tie with two votes each; label 2 has the best sum but only one vote.
    ([(0.5, 0.01, 0.49), (0.5, 0.01, 0.49), (0.01, 0.5, 0.49), (0.01, 0.6, 0.39), (0.1, 0.1, 0.8)], 1, 2),
])
def test_votes(prompts, majority, mean):
    scores = log_probs(*prompts)
    assert prompt.vote(scores).item() == majority
    assert prompt.vote(scores, "mean").item() == mean


def test_a_prompts_scores_need_not_sum_to_one_to_have_one_vote():
    # What is left of the probability went to texts that are no label: 0.02 and 0.03 are 0.4 and 0.6.
    assert prompt.vote(log_probs((0.02, 0.03), (0.52, 0.48)), "mean").item() == 1


@pytest.mark.parametrize("texts, confidences, chosen", [
    (["Rome", "rome ", "Oslo"], [-2.0, -1.0, -0.1], "rome "),  # the majority, as its surest prompt writes it
    (["Rome", "Oslo", "Paris"], [-2.0, -0.5, -1.0], "Oslo"),   # none: the surest
    (["a", "b", "a", "b"], [-1.0, -0.2, -1.0, -1.6], "b")])    # a tie: means -1.0 and -0.9
def test_votes_of_free_text(texts, confidences, chosen):
    assert prompt.vote_text(texts, confidences) == chosen


# ------------------------------------------------------------------- neighbours


def test_neighbours_of_a_known_prompt():
    # Rows 0 to 2 are pad, eos and unk, row 6 is a sentinel: all of them would be nearest to something.
    embedding = torch.tensor([[1.0, 0], [0, 1.0], [1.0, 1.0], [2.0, 0], [0, 3.0], [-1.0, 0], [5.0, 5.0]])
    ids, values = prompt.neighbours(torch.tensor([[7.0, 0], [3.0, 4.0]]), embedding, top=2, pieces=6)
    assert ids.tolist() == [[3, 4], [4, 3]]
    torch.testing.assert_close(values, torch.tensor([[1.0, 0.0], [0.8, 0.6]]))


def test_clusters_join_what_a_later_vector_connects():
    assert prompt.clusters(torch.tensor([[3, 4], [7, 8], [8, 3], [9, 6]])) == [[0, 1, 2], [3]]


def test_the_command_prints_the_neighbours_of_label_starts(tmp_path):
    # A prompt that starts from the labels of toy-nli has them at distance 0.
    root = Path(prompt.__file__).parent
    t5, tokenizer = model.load(root / "toy" / "t5"), data.Tokenizer(root / "toy" / "t5" / "spiece.model")
    labels = [tokenizer.encode(label)[:-1] for label in data.TASKS["toy-nli"].labels]
    start = prompt.initialise("labels", t5.shared.weight, 4, 0, tokenizer.pieces, labels)
    prompt.save(tmp_path / "p", start, {"task": "toy-nli",
                                        "fingerprint": f"{t5.fingerprint}-{tokenizer.fingerprint}"})
    done = subprocess.run([sys.executable, root / "prompt.py", "neighbours", tmp_path / "p"],
                          capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].startswith("   0  ▁entailment 1.00  ")
    assert "label contradiction: nearest is vector 2, cosine 1.00" in lines


# ------------------------------------------------------------------- prediction

ROOT = Path(prompt.__file__).parent


@pytest.fixture(scope="module")
def toy():
    return model.load(ROOT / "toy" / "t5"), data.Tokenizer(ROOT / "toy" / "t5" / "spiece.model")


@pytest.fixture(scope="module")
def bank(toy):
    """Two trained prompts and two fresh ones: of toy-nli, toy-sst2, and toy-ner twice."""
    t5, tokenizer = toy
    trained = [prompt.load(ROOT / "toy" / "prompts" / f"{name}-0")[0] for name in ("toy-nli", "toy-sst2")]
    fresh = [prompt.initialise("vocabulary", t5.shared.weight, 10, seed, tokenizer.pieces) for seed in (0, 1)]
    return prompt.PromptBank(trained + fresh)


ROWS = [("toy-nli", "sentence1: old cats chased dogs . sentence2: cats chased dogs ."),
        ("toy-ner", "sentence: anna loved cats in rome ."),
        ("toy-sst2", "sentence: the cats were never awful ."),
        ("toy-nli", "sentence1: cats chased dogs . sentence2: cats avoided dogs ."),
        ("toy-sst2", "sentence: bob stained the dull hats in oslo ."),
        ("toy-ner", "sentence: in oslo cats helped bob and ida .")]


def test_tasks_mixed_in_one_batch_are_answered_as_alone(toy, bank):
    members = {"toy-nli": [0], "toy-sst2": [1], "toy-ner": [2]}
    mixed = prompt.answer(*toy, bank, members, ROWS)
    assert [answer.get("label") for answer in mixed] == [
        "entailment", None, "positive", "contradiction", "negative", None]
    for row, together in zip(ROWS, mixed):
        [alone] = prompt.answer(*toy, prompt.PromptBank([bank.prompts[members[row[0]][0]]]), {row[0]: [0]}, [row])
        assert alone.keys() == together.keys()
        if "label" in alone:
            assert alone["probabilities"] == pytest.approx(together["probabilities"], abs=1e-5)
            assert sum(together["probabilities"].values()) == pytest.approx(1, abs=1e-5)
        else:
            assert alone["text"] == together["text"]
            assert alone["confidence"] == pytest.approx(together["confidence"], rel=1e-4)


def test_an_example_knows_what_of_it_may_be_cut(toy, bank):
    # The passage stands before the question, and loses its end.
    text = "sentence1: old cats chased dogs in oslo today . sentence2: cats chased dogs ."
    start, end = text.index("old"), text.index(" . sentence2")
    [short], [whole] = ([ids.tolist() for ids in toy[1].encode_inputs([data.Example(text, "", long=long)], most)[0]]
                        for long, most in (((start, end), 12), ((start, end), None)))
    assert len(short) == 12 < len(whole) and short[-5:] == whole[-5:]
    rest = [("toy-nli", data.Example(text, "", long=(start, end))), ("toy-nli", text),
            ("toy-nli", toy[1].sp.decode(short[:-1]))]
    cut, plain, by_hand = prompt.answer(*toy, bank, {"toy-nli": [0]}, rest, longest=12)
    assert cut["probabilities"] == pytest.approx(by_hand["probabilities"], abs=1e-5)
    assert cut["probabilities"] != pytest.approx(plain["probabilities"], abs=1e-5)


def test_several_prompts_of_a_task_vote(toy, bank):
    # Two against one, whatever the third is sure of; the probabilities are the mean of all three.
    [row] = ROWS[2:3]
    alone = [prompt.answer(*toy, bank, {"toy-sst2": [n]}, [row])[0]["probabilities"]["positive"] for n in (1, 2, 0)]
    [together] = prompt.answer(*toy, bank, {"toy-sst2": [1, 2, 0]}, [row])
    assert together["probabilities"]["positive"] == pytest.approx(sum(alone) / 3, abs=1e-5)
    assert together["label"] == ("positive" if sum(p > 0.5 for p in alone) >= 2 else "negative")
    # Free text of two that differ: that of the surer one.
    texts = [prompt.answer(*toy, bank, {"toy-ner": [n]}, ROWS[1:2])[0] for n in (2, 3)]
    [text] = prompt.answer(*toy, bank, {"toy-ner": [2, 3]}, ROWS[1:2])
    assert text["text"] == max(texts, key=lambda answer: answer["confidence"])["text"]
    assert 0 < text["confidence"] <= 1


def test_a_bad_line_has_its_number_and_the_good_ones_are_answered(tmp_path):
    folders = [ROOT / "toy" / "prompts" / name for name in ("toy-nli-0", "toy-sst2-0")]
    lines = [json.dumps({"task": task, "input": text}) for task, text in (ROWS[0], ROWS[2])]
    bad = ['{"task": "toy-ner", "input": "x"}', "not json", '{"task": "toy-nli"}', '{"input": "x"}', "[1]",
           '{"task": "toy-nli", "input": "caf\udce9"}', r'{"task": "toy-nli", "input": "\ud800"}', "[" * 100_000]
    why = ["task 'toy-ner', wanted one of toy-nli, toy-sst2", "not JSON: ", "no text under", "no task, wanted one of",
           "not an object", "'utf-8'", "'utf-8'", "maximum recursion"]
    (tmp_path / "in.jsonl").write_text("\n".join([lines[0], *bad, "", lines[1]]) + "\n", errors="surrogateescape")
    done = subprocess.run([sys.executable, ROOT / "prompt.py", "predict", *folders, "--file", tmp_path / "in.jsonl",
                           "--batch", "2"], capture_output=True, text=True)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(a["line"], a["task"], a["label"]) for a in answers] == [
        (1, "toy-nli", "entailment"), (11, "toy-sst2", "positive")]
    said = done.stderr.splitlines()
    assert done.returncode == 2 and [line.split(":")[1].strip() for line in said[:8]] == [
        f"line {n}" for n in range(2, 10)]
    assert all(f": line {n}: {words}" in line for n, (words, line) in enumerate(zip(why, said), 2))
    assert said[8].startswith("2 answered, 8 bad lines, ") and len(said) == 10


def test_standard_input_is_read_as_files_are():
    folder = ROOT / "toy" / "prompts" / "toy-sst2-0"
    done = subprocess.run([sys.executable, ROOT / "prompt.py", "predict", folder], capture_output=True,
                          input=b'\xef\xbb\xbf{"input": "caf\xe9"}\n{"input": "caf\xc3\xa9"}\n')
    assert json.loads(done.stdout)["line"] == 2 and done.stderr.startswith(b"prompt.py: line 1: ")
    closed = subprocess.run([f'"{sys.executable}" prompt.py predict "{folder}" --text x <&-'], cwd=ROOT, shell=True,
                            capture_output=True)
    assert closed.returncode == 0 and json.loads(closed.stdout)["line"] == 1


@pytest.mark.parametrize("arguments", [["neighbours", "toy/prompts/toy-nli-0"], ["predict", "toy/prompts/toy-sst2-0",
                                                                               "--text", "sentence: x ."]])
def test_a_reader_that_has_left_is_no_error(arguments):
    # As `| head` does; buffered, so that some of it is written at the very end only.
    running = subprocess.Popen([sys.executable, "prompt.py", *arguments], cwd=ROOT, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, env={k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"})
    running.stdout.close()
    said = running.stderr.read()
    assert running.wait() == 1 and b"Error" not in said and b"Traceback" not in said


def test_a_batch_of_lines_is_all_that_is_read(monkeypatch):
    taken, seen = [], []

    def endless():
        while True:
            taken.append(1)
            yield '{"input": "x"}'

    def answer(t5, tokenizer, bank, members, rows):
        seen.append((len(rows), len(taken)))
        if len(seen) == 3:
            raise KeyboardInterrupt
        return [{"label": "positive"}] * len(rows)

    monkeypatch.setattr(prompt, "answer", answer)
    with pytest.raises(KeyboardInterrupt):
        prompt.predict([ROOT / "toy" / "prompts" / "toy-sst2-0"], endless(), str(ROOT / "toy" / "t5"), 5,
                       "cpu", None, io.StringIO(), io.StringIO())
    assert seen == [(5, 5), (5, 10), (5, 15)]


def test_examples_in_the_docstrings():
    result = doctest.testmod(prompt)
    assert result.attempted > 0 and result.failed == 0
