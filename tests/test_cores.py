"""plumbing/cores.py: which core does what.

    python -m pytest tests/test_cores.py    # a second

Oracle: threads that wait for each other, and what each says of itself.
"""

import threading
import types

import pytest
import torch

from plumbing import cores


@pytest.fixture
def two(monkeypatch):
    """A machine of two cores; its pool is this test's own."""
    before = torch.get_num_threads()
    monkeypatch.setattr(cores, "CORES", 2)
    cores.pool.cache_clear()
    yield
    cores.pool().shutdown()
    cores.pool.cache_clear()
    torch.set_num_threads(before)


def t5(width, dropout=0.0, device="cpu"):
    return types.SimpleNamespace(device=types.SimpleNamespace(type=device), dropout=dropout,
                                 config=types.SimpleNamespace(d_model=width))


def test_prompts_of_a_small_t5_go_side_by_side_each_by_one_core(two):
    """Each of two waits until the other has begun: one after the other they would never end."""
    both = threading.Barrier(2, timeout=20)

    def do(group):
        both.wait()
        return group, torch.get_num_threads(), threading.current_thread() is here

    here, each = threading.current_thread(), cores.sharing(t5(128))
    assert torch.get_num_threads() == 1  # what else there is, too
    torch.set_num_threads(2)  # as a large T5 in the same process would
    assert each(do, "ab") == [("a", 1, False), ("b", 1, False)]


@pytest.mark.parametrize("of", [t5(512), t5(128, device="cuda"), t5(128, dropout=0.1)],
                         ids=["large", "on a GPU", "with dropout"])
def test_others_go_one_after_the_other(two, of):
    """By all cores; but with dropout, which needs the one order that draws the same."""
    said = []

    def do(group):
        said.append((group, threading.current_thread() is threading.main_thread()))
        return torch.get_num_threads()

    assert cores.sharing(of)(do, "ab") == [1 if of.dropout else 2] * 2
    assert said == [("a", True), ("b", True)]


def test_answers_come_in_order_and_a_fault_comes_through(two):
    each, later = cores.sharing(t5(128)), threading.Event()

    def do(group):
        if group == "last":
            later.set()
        elif group == "first":
            later.wait(20)
        else:
            raise ValueError("of one group")
        return group

    assert each(do, ["first", "last"]) == ["first", "last"]
    with pytest.raises(ValueError, match="of one group"):
        each(do, ["last", "odd"])


def test_on_a_gpu_all_rows_share_their_passes():
    rows, whose = [("a", 1), ("a", 2), ("b", 3)], lambda row: row[0]
    gpu, cpu = (types.SimpleNamespace(device=torch.device(name)) for name in ("cuda", "cpu"))
    assert cores.together(rows, gpu, whose) == [rows]
    assert cores.together(rows, cpu, whose) == [rows[:2], rows[2:]]
