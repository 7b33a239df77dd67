"""The order in which training meets its examples: shuffled epochs, the same in every process.

    shuffled(5, seed=0, epoch=1)           one epoch's order of five examples
    walk(places, seed=0, step=7, batch=4)  those of the places that step 7 visits
"""

import functools
import random


# A shuffle of MNLI takes a while, and every step asks for it: for each seed the labelled and the
# others, and how each of them is walked through.
@functools.lru_cache(maxsize=64)
def shuffled(count, seed, epoch):
    """The order in which an epoch visits `count` examples, the same for the same numbers.

    So nothing needs to be remembered to go on in the middle of a run, and every approach meets
    the examples of a seed in the same order. Of whole epochs, not draws with replacement: in a
    small task each example would else be seen by luck.
    """
    places = list(range(count))
    random.Random(f"order {seed} {epoch}").shuffle(places)
    return tuple(places)


def walk(places, seed, step, batch, kind=""):
    """Those of the places (a sequence) that a step visits, `batch` of them; [] of none.

    kind: what tells one walk from another. Two sets of as many places would else be shuffled
    alike, and each place of the one would in every epoch be met beside the same of the other.
    """
    count = len(places)
    visits = [divmod(at, count) for at in range(step * batch, (step + 1) * batch) if count]
    return [places[shuffled(count, seed, f"{kind}{epoch}")[at]] for epoch, at in visits]
