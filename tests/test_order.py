"""plumbing/order.py: shuffled epochs, and the walk through them.

    python -m pytest tests/test_order.py    # a second

Oracle: counting, and an order that another process has printed.
"""

from plumbing import order


def test_an_epoch_visits_every_example_once():
    assert sorted(order.shuffled(50, 3, 2)) == list(range(50))


def test_the_order_depends_on_seed_and_epoch():
    numbers = [(0, 0), (1, 0), (0, 1), (1, 11), (11, 1), (0, "free 0")]
    assert len({order.shuffled(50, *each) for each in numbers}) == 6


def test_the_order_is_the_same_in_every_process():
    # As printed by another one: a run goes on tomorrow where it stopped today.
    assert order.shuffled(10, seed=0, epoch=0) == (8, 4, 0, 9, 5, 1, 2, 7, 3, 6)


def test_a_walk_goes_through_the_places_epoch_by_epoch():
    places = (40, 30, 20, 10)
    steps = [order.walk(places, 0, step, 3) for step in range(3)]
    assert sum(steps, [])[:8] == [places[at] for epoch in (0, 1)
                                  for at in order.shuffled(4, 0, epoch)]
    assert order.walk((), 0, 0, 3) == []


def test_two_walks_through_as_many_places_are_shuffled_each_in_its_own_way():
    labelled, free = ([at for step in range(10) for at in order.walk(range(5), 0, step, 5, kind)]
                      for kind in ("", "free "))
    assert labelled != free
    assert len(set(zip(labelled, free))) > 5  # not the same pairs in all ten epochs
