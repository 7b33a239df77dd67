"""A small generated world: an English-like language and ten tasks of GLUE's kinds.

Everything comes from a seed and from the word lists below. A statement has slots,

    [adjective] subject [never] verb [adjective] object [in place] [time]
    "old cats never chased dogs in oslo"

and in this world a bare plural says "some": what "old cats chased dogs" says is
also said by "cats chased dogs" and by "animals chased dogs", and not the other way
round. So the label of a pair can be read off slot by slot (`judge`), and a task is
a way to make and to present statements. What the tasks have in common (synonyms,
opposites, kinds, negation, attitudes) is what transfers between their prompts.

Left out, so that every label is certain: quantifiers, tense, agreement, pronouns,
and additions or omissions under "never", where entailment turns round.
"""

import random
import re
import zlib
from pathlib import Path
from typing import NamedTuple

MODEL = Path(__file__).resolve().parent / "t5"  # the T5 that was pretrained on this world
PROMPTS = MODEL.with_name("prompts")  # trained source prompts

KINDS = {
    "animals": "cats dogs horses birds lions wolves".split(),
    "workers": "doctors farmers teachers soldiers sailors bakers".split(),
    "fruits": "apples plums pears lemons grapes cherries".split(),
    "tools": "hammers ropes knives brooms ladders needles".split(),
    "vehicles": "carts boats trains wagons ships trucks".split(),
    "clothes": "hats coats boots scarves gloves socks".split(),
    "dishes": "soups pies cakes stews salads omelettes".split(),
    "plants": "roses trees weeds ferns lilies shrubs".split(),
}
ACTORS = KINDS["animals"] + KINDS["workers"]
NOUNS = [noun for nouns in KINDS.values() for noun in nouns]
KIND_OF = {noun: kind for kind, nouns in KINDS.items() for noun in nouns}

VERB_PAIRS = [("loved", "hated"), ("helped", "harmed"), ("found", "lost"), ("bought", "sold"),
              ("pushed", "pulled"), ("praised", "mocked"), ("chased", "avoided"),
              ("opened", "closed"), ("washed", "stained"), ("raised", "dropped")]
ADJECTIVE_PAIRS = [("old", "young"), ("big", "small"), ("rich", "poor"), ("fast", "slow"),
                   ("clean", "dirty"), ("strong", "weak"), ("wild", "tame"), ("loud", "quiet"),
                   ("wet", "dry"), ("heavy", "light"), ("hot", "cold"), ("bright", "dark")]
SYNONYM_PAIRS = [("loved", "adored"), ("hated", "despised"), ("helped", "assisted"),
                 ("harmed", "hurt"), ("found", "discovered"), ("bought", "purchased"),
                 ("chased", "pursued"), ("avoided", "shunned"), ("praised", "lauded"),
                 ("big", "large"), ("small", "tiny"), ("rich", "wealthy"), ("fast", "quick"),
                 ("dirty", "filthy"), ("strong", "sturdy"), ("quiet", "silent"), ("wet", "soaked")]
SYNONYM = {a: b for a, b in SYNONYM_PAIRS} | {b: a for a, b in SYNONYM_PAIRS}
OPPOSITE = {a: b for a, b in VERB_PAIRS + ADJECTIVE_PAIRS}
OPPOSITE |= {b: a for a, b in OPPOSITE.items()}
# A synonym has the opposites of its word.
OPPOSITE |= {b: OPPOSITE[a] for a, b in SYNONYM_PAIRS}
VERBS = [verb for pair in VERB_PAIRS for verb in pair]
ADJECTIVES = [adjective for pair in ADJECTIVE_PAIRS for adjective in pair]

PERSONS = ("anna bob clara david emma frank greta henry ida jack karen liam mary "
           "nora oscar paula").split()
PLACES = "oslo rome paris cairo lima delhi kyoto dublin".split()
TIMES = "today yesterday monday friday".split()

KNEW = "knew noticed proved remembered".split()        # what follows is so
HOPED = "hoped guessed dreamed wished".split()         # what follows may be so or not
LIED = "lied pretended".split()                        # what follows is not so

GREAT = "great lovely superb charming brilliant delightful pleasant wonderful".split()
AWFUL = "awful dull ugly terrible boring nasty dreadful horrible".split()
PRAISE = ["we will come again", "we told all friends to go", "we smiled a lot"]
BLAME = ["we want the money back", "we left early", "we yawned a lot"]


class Statement(NamedTuple):  # quicker to change than a dataclass
    """What is said. The order of the fields is the order of the words."""

    subject: str
    verb: str
    object: str
    subject_adjective: str = ""
    object_adjective: str = ""
    place: str = ""
    time: str = ""
    never: bool = False

    def __str__(self):
        return self.say()

    def say(self, place_first=False):
        place = f"in {self.place}" if self.place else ""
        words = [place if place_first else "", self.subject_adjective, self.subject,
                 "never" if self.never else "", self.verb, self.object_adjective, self.object,
                 "" if place_first else place, self.time]
        return " ".join(word for word in words if word)


    def passive(self):
        place = f"in {self.place}" if self.place else ""
        words = [self.object_adjective, self.object, "were", "never" if self.never else "",
                 self.verb, "by", self.subject_adjective, self.subject, place, self.time]
        return " ".join(word for word in words if word)


MODIFIERS = ["subject_adjective", "object_adjective", "place", "time"]
CHOICES = {"subject_adjective": ADJECTIVES, "object_adjective": ADJECTIVES, "place": PLACES,
           "time": TIMES, "subject": ACTORS, "object": NOUNS, "verb": VERBS}


def other(rng, words, *not_these):
    """A word of the list that is none of these, nor a synonym or opposite of them."""
    barred = {word for w in not_these for word in (w, SYNONYM.get(w), OPPOSITE.get(w))}
    barred |= {SYNONYM.get(w) for w in barred if w}
    return rng.choice([word for word in words if word not in barred])


def statement(rng, modifiers=(0, 3), never=0.15):
    """A random statement with so many modifiers (lowest, highest)."""
    said = {slot: rng.choice(CHOICES[slot]) for slot in ("subject", "verb", "object")}
    said |= {"object": other(rng, NOUNS, said["subject"]), "never": rng.random() < never}
    for slot in rng.sample(MODIFIERS, rng.randint(*modifiers)):
        said[slot] = rng.choice(CHOICES[slot])
    for slot in ("verb", "subject_adjective", "object_adjective"):  # now and then a synonym
        if said.get(slot) in SYNONYM and rng.random() < 0.3:
            said[slot] = SYNONYM[said[slot]]
    return Statement(**said)


# ----------------------------------------------------------------- inference


THREE = ["entailment", "neutral", "contradiction"]


def relations(premise, hypothesis):
    """(word of the hypothesis, how the premise stands to it), slot by slot."""
    never = premise.never or hypothesis.never
    yield ("never" if hypothesis.never else hypothesis.verb,
           "contradiction" if premise.never != hypothesis.never else "entailment")
    for slot in CHOICES:
        before, after = getattr(premise, slot), getattr(hypothesis, slot)
        opposite = OPPOSITE.get(before, "nothing")
        # One event has one place and one time.
        elsewhere = slot in ("place", "time") and before and after
        if after in (before, SYNONYM.get(before)):
            yield after, "entailment"
        elif never:  # "never loved" and "never hated" are both possible
            yield after, "neutral"
        elif after in ("", KIND_OF.get(before)):
            yield after, "entailment"
        elif after in (opposite, SYNONYM.get(opposite)) or elsewhere:
            yield after, "contradiction"
        else:
            yield after, "neutral"


def judge(premise, hypothesis):
    """entailment, neutral or contradiction: what the worst slot says.

    >>> old = Statement("cats", "chased", "dogs", subject_adjective="old")
    >>> judge(old, Statement("animals", "pursued", "dogs"))
    'entailment'
    >>> judge(Statement("cats", "chased", "dogs"), old)
    'neutral'
    >>> judge(old, Statement("cats", "avoided", "dogs"))
    'contradiction'
    """
    return max((relation for _, relation in relations(premise, hypothesis)), key=THREE.index)


def explain(premise, hypothesis):
    """Why: each word of the hypothesis that is new, or not so. Empty for an entailment.

    >>> explain(Statement("cats", "chased", "dogs"), Statement("cats", "avoided", "dogs", "old"))
    'new old ; not avoided'
    """
    words = {"neutral": "new", "contradiction": "not"}
    return " ; ".join(f"{words[relation]} {word}" for word, relation
                      in relations(premise, hypothesis) if relation in words)


def edit(rng, said, label):
    """Another statement that stands in this relation to `said`."""
    present = [slot for slot in MODIFIERS if getattr(said, slot)]
    absent = [slot for slot in MODIFIERS if slot not in present]
    kept = [] if said.never else present  # under "never" nothing is dropped or added
    synonyms = [s for s in CHOICES if getattr(said, s) in SYNONYM]
    kinds = [] if said.never else [s for s in ("subject", "object") if getattr(said, s) in KIND_OF]
    result = said
    # Harmless changes first: leave out, say otherwise, say more generally.
    harmless = [("drop", s) for s in kept] + [("same", s) for s in synonyms] + \
               [("kind", s) for s in kinds]
    count = rng.randint(0, 2) if label != "entailment" else rng.choice([0, 1, 1, 2, 2, 3])
    changed = set()
    for how, slot in rng.sample(harmless, min(count, len(harmless))):
        if slot in changed:
            continue
        changed.add(slot)
        word = getattr(said, slot)
        new = {"drop": "", "same": SYNONYM.get(word), "kind": KIND_OF.get(word)}[how]
        result = result._replace(**{slot: new})
    # Then the one change that makes the label.
    if label == "neutral":
        options = ["other"] if said.never else ["add", "add", "special", "other"]
        how = rng.choice([o for o in options if o != "add" or absent])
        if how == "add":
            slot = rng.choice(absent)
            result = result._replace(**{slot: rng.choice(CHOICES[slot])})
        elif how == "special":  # the caller turns the pair round: see `pair`
            return None
        else:
            slot = rng.choice(["subject", "object", "verb"])
            result = result._replace(**{slot: other(rng, CHOICES[slot], getattr(said, slot),
                                                    said.subject, said.object)})
    elif label == "contradiction":
        opposed = [] if said.never else [
            s for s in ("verb", "verb", "subject_adjective", "object_adjective")
            if getattr(said, s) in OPPOSITE]
        moved = [] if said.never else [s for s in ("place", "time") if getattr(said, s)]
        slot = rng.choice(opposed + moved + ["never"])
        if slot == "never":
            # Only the negation: what is dropped under it would turn round.
            base = result._replace(**{s: getattr(said, s) for s in CHOICES})
            result = base._replace(never=not said.never)
        elif slot in moved:
            result = result._replace(**{slot: other(rng, CHOICES[slot], getattr(said, slot))})
        else:
            result = result._replace(**{slot: OPPOSITE[getattr(said, slot)]})
    return result


def pair(rng, label, modifiers=(0, 3)):
    """Premise and hypothesis, two statements in this relation."""
    while True:
        premise = statement(rng, modifiers)
        hypothesis = edit(rng, premise, label)
        if hypothesis is None:  # "animals" to "cats": a specific noun is not told by its kind
            slot = rng.choice(["subject", "object"])
            hypothesis = premise
            premise = premise._replace(**{slot: KIND_OF[getattr(premise, slot)]})
        if judge(premise, hypothesis) == label:
            return premise, hypothesis


def attitude(rng, label, modifiers=(0, 2)):
    """A reported premise: (its words, the hypothesis) in this relation.

    "anna knew that p" tells p, "anna hoped that p" leaves it open, "anna lied that p"
    tells the opposite.
    """
    how, inner = rng.choice({
        "entailment": [(KNEW, "entailment")],
        "neutral": [(KNEW, "neutral"), (HOPED, "entailment"), (HOPED, "contradiction")],
        "contradiction": [(KNEW, "contradiction"), (LIED, "entailment")]}[label])
    premise, hypothesis = pair(rng, inner, modifiers)
    return f"{rng.choice(PERSONS)} {rng.choice(how)} that {premise}", hypothesis


# -------------------------------------------------------------------- tasks
#
# Each returns (input, target). The inputs of the pair tasks look alike, and those of the
# single-sentence tasks: what is asked is told by a prefix, or by a prompt. The two small
# targets, and half of nli, look like nothing that pretraining shows.

def two_sentences(first, second):
    return f"sentence1: {first} . sentence2: {second} ."


def written(rng):
    """Three-way inference, now and then under a verb of attitude: what pretraining shows of it."""
    label = rng.choice(THREE)
    premise, hypothesis = (attitude if rng.random() < 0.2 else pair)(rng, label)
    return two_sentences(premise, hypothesis), label


def dialogue(rng, premise, hypothesis, aside):
    """The hypothesis asked, in the passive; the premise in the answer, alone or beside another."""
    talk = [str(premise)]
    if aside:
        talk.append(f"{rng.choice(PERSONS)} said we {rng.choice(VERBS)} {rng.choice(NOUNS)}")
    rng.shuffle(talk)
    asks, answers = rng.sample(PERSONS, 2)
    return f"{asks} : {hypothesis.passive()} ? {answers} : {' . '.join(talk)} ."


def nli(rng):
    """Large three-way inference of two genres, as MNLI has ten: written, spoken in dialogues."""
    if rng.random() < 0.5:
        return written(rng)
    label = rng.choice(THREE)
    premise, hypothesis = (attitude if rng.random() < 0.5 else pair)(rng, label)
    return dialogue(rng, premise, hypothesis, aside=rng.random() < 0.5), label


def cb(rng):
    """Small three-way inference: always a dialogue, a report and something beside it."""
    label = rng.choice(THREE)
    return dialogue(rng, *attitude(rng, label), aside=True), label


def rte(rng):
    """Two-way entailment."""
    label = rng.choice(["entailment", "not_entailment"])
    three = label if label == "entailment" else rng.choice(THREE[1:])
    premise, hypothesis = pair(rng, three)
    return two_sentences(premise, hypothesis), label


def qqp(rng):
    """Paraphrase: all slots say the same, perhaps in other words or another order."""
    label = rng.choice(["duplicate", "not_duplicate"])
    first = statement(rng, (1, 3))
    if label == "duplicate":
        second = first
        for slot in CHOICES:
            word = getattr(first, slot)
            if word in SYNONYM and rng.random() < 0.6:
                second = second._replace(**{slot: SYNONYM[word]})
    else:
        second = first
        while judge(first, second) == judge(second, first) == "entailment":
            if rng.random() < 0.2:  # who did it to whom
                second = first._replace(subject=first.object, object=first.subject)
            else:
                second = edit(rng, first, rng.choice(THREE)) or first
    words = [first.say(rng.random() < 0.3), second.say(rng.random() < 0.3)]
    rng.shuffle(words)
    return two_sentences(*words), label


def boolq(rng):
    """A yes/no question on a passage of two statements."""
    label = rng.choice(["yes", "no"])
    about, question = pair(rng, "entailment" if label == "yes" else "contradiction", (0, 2))
    aside = statement(rng, (0, 1))
    passage = [str(about), str(aside)]
    rng.shuffle(passage)
    return f"sentence1: {' . '.join(passage)} . sentence2: {question} ?", label


def qnli(rng):
    """Does the sentence answer the question? Who, what or where."""
    label = rng.choice(["entailment", "not_entailment"])
    said = statement(rng, (1, 2), never=0)._replace(place=rng.choice(PLACES))
    asked = said
    if label == "not_entailment":
        slot = rng.choice(["verb", "subject", "object"])
        new = other(rng, CHOICES[slot], said.subject, said.object, said.verb)
        asked = said._replace(**{slot: new})
        ask = rng.choice([a for a in ("who", "what", "where")
                          if (a, slot) not in (("who", "subject"), ("what", "object"))])
    else:
        ask = rng.choice(["who", "what", "where"])
    question = {"who": f"who {asked.verb} {asked.object}",
                "what": f"what was {asked.verb} by {asked.subject}",
                "where": f"where was it that {asked.subject} {asked.verb} {asked.object}"}[ask]
    return f"sentence1: {question} ? sentence2: {said} .", label


def opinion(rng, positive):
    """A clause of praise or blame; "never" turns the word round, "but" the first half."""
    good, bad = (GREAT, AWFUL) if positive else (AWFUL, GREAT)
    what = rng.choice(NOUNS)
    kind = rng.random()
    if kind < 0.25:
        return f"the {what} were never {rng.choice(bad)}"
    if kind < 0.45:
        return (f"{rng.choice(PERSONS)} hoped for {rng.choice(bad)} {what} but got "
                f"{rng.choice(good)} {rng.choice(NOUNS)}")
    if kind < 0.6:
        return (f"{rng.choice(PERSONS)} {rng.choice(VERBS)} the {rng.choice(good)} {what} in "
                f"{rng.choice(PLACES)}")
    return f"the {rng.choice(ADJECTIVES)} {what} were {rng.choice(good)} {rng.choice(TIMES)}"


def sst2(rng):
    """The sentiment of a sentence."""
    label = rng.choice(["positive", "negative"])
    return f"sentence: {opinion(rng, label == 'positive')} .", label


def reviews(rng):
    """The sentiment of somebody's short review: one opinion, among statements of fact or a hint."""
    label = rng.choice(["positive", "negative"])
    good = label == "positive"
    parts = [opinion(rng, good), str(statement(rng, (0, 1))), str(statement(rng, (0, 1)))]
    if rng.random() < 0.4:
        parts[1] = rng.choice(PRAISE if good else BLAME)
    rng.shuffle(parts)
    return f"{rng.choice(PERSONS)} : {' . '.join(parts)} .", label


def named(rng):
    """Words of a statement with people and places, and their entities in order."""
    person = rng.sample(PERSONS, 2)
    place = rng.choice(PLACES)
    said = statement(rng, (0, 1), never=0.1)
    said = said._replace(place="")
    form = rng.randrange(5)
    if form == 0:
        return str(said), []
    if form == 1:
        first, second = person
        return f"{first} {said.verb} {second}", [("person", first), ("person", second)]
    if form == 2:
        return f"{said} in {place}", [("place", place)]
    if form == 3:
        return (f"{person[0]} {said.verb} {said.object} in {place}",
                [("person", person[0]), ("place", place)])
    return (f"in {place} {said.subject} {said.verb} {person[0]} and {person[1]}",
            [("place", place), ("person", person[0]), ("person", person[1])])


def ner(rng):
    """Who and where: every name with its type, in order, or none."""
    words, entities = named(rng)
    target = " ; ".join(f"{kind} : {span}" for kind, span in entities)
    return f"sentence: {words} .", target or "none"


def cola(rng):
    """Is the word order that of the language?"""
    label = rng.choice(["acceptable", "unacceptable"])
    said = str(statement(rng, (1, 3), never=0.3)) if rng.random() < 0.6 else named(rng)[0]
    words = said.split()
    if label == "unacceptable":
        right = list(words)
        while words == right or not ungrammatical(words):
            words = list(right)
            i, j = rng.sample(range(len(words)), 2)
            how = rng.randrange(3)
            if how == 0:  # two words change places
                words[i], words[j] = words[j], words[i]
            elif how == 1:  # a word is lost
                del words[i]
            else:  # a verb or "never" too many
                words.insert(i, rng.choice(VERBS + ["never"] * 5))
    return f"sentence: {' '.join(words)} .", label


CLASS = ({w: "A" for w in ADJECTIVES} | {w: "N" for w in NOUNS} | {w: "N" for w in KINDS}
         | {w: "V" for w in VERBS} | {w: "P" for w in PERSONS} | {w: "L" for w in PLACES}
         | {w: "T" for w in TIMES} | {"never": "never", "in": "in", "and": "and"})
CLASS |= {word: CLASS[like] for word, like in SYNONYM.items() if word not in CLASS}


def ungrammatical(words):
    """Whether no reading of these words is a statement, by the pattern at the top.

    >>> ungrammatical("cats old chased dogs".split()), ungrammatical("cats chased dogs".split())
    (True, False)
    """
    noun_phrase = r"(?:(?:A )?N |P (?:and P )?)"
    pattern = (rf"(?:in L )?{noun_phrase}(?:never )?V {noun_phrase}(?:in L )?(?:T )?")
    shape = "".join(f"{CLASS[word]} " for word in words)
    return re.fullmatch(pattern, shape) is None


TASKS = {"nli": nli, "cb": cb, "rte": rte, "qqp": qqp, "boolq": boolq, "qnli": qnli,
         "sst2": sst2, "reviews": reviews, "ner": ner, "cola": cola}
# (training examples, dev examples); the small ones never appear in pretraining, nor
# does qnli, the one whole kind that the model has never been asked.
SIZES = {"nli": (20000, 500), "cb": (250, 500), "rte": (2500, 500), "qqp": (10000, 500),
         "boolq": (5000, 500), "qnli": (5000, 500), "sst2": (5000, 500),
         "reviews": (64, 500), "ner": (5000, 500), "cola": (5000, 500)}
UNSEEN = {"cb", "reviews", "qnli"}


def kept_for_dev(text):
    """Whether an input may only be evaluated on: one in ten, by a checksum of its words.

    Neither pretraining nor a training set ever holds such an input.
    """
    return zlib.crc32(text.encode()) % 10 == 0


def examples(name, count, seed, dev=False, task=None):
    """`count` different (input, target) pairs of a task, a name or a function, of dev or train.

    The first of many are those of few. Raises ValueError if the task seems to have no more.
    """
    rng = random.Random(f"{name} {seed} {dev}")
    seen, last, draws = {}, 0, 0
    while len(seen) < count:
        text, target = (task or TASKS[name])(rng)
        draws += 1
        if kept_for_dev(text) == dev and text not in seen:
            seen[text], last = target, draws
        elif draws - last > 10_000:  # what is left, if anything, is rarer than that
            raise ValueError(f"{name} has not many more than {len(seen)} inputs, wanted {count}")
    return list(seen.items())


# --------------------------------------------------------------- plain text


def entry(rng):
    """A line of a dictionary: what a word means, its opposite, its kind."""
    form = rng.randrange(3)
    if form == 0:
        word = rng.choice(NOUNS)
        return f"{word} are {KIND_OF[word]}", ("kind", word, KIND_OF[word])
    if form == 1:
        word = rng.choice(list(SYNONYM))
        return f"{word} means {SYNONYM[word]}", ("same", word, SYNONYM[word])
    word = rng.choice(VERBS + ADJECTIVES)
    return f"{word} is the opposite of {OPPOSITE[word]}", ("opposite", word, OPPOSITE[word])


def dictionary(rng):
    """The supervised form of an entry: "kind: cats" -> "animals"."""
    _, (ask, word, answer) = entry(rng)
    return f"{ask} : {word}", answer


def reasons(rng):
    """Inference with its reasons in place of its label: what of the second is new or not so."""
    premise, hypothesis = pair(rng, rng.choice(THREE))
    return two_sentences(premise, hypothesis), explain(premise, hypothesis) or "nothing"


def passage(rng):
    """Plain text for span corruption: statements that say things again in other words."""
    lines = []
    while len(lines) < 3:
        form = rng.randrange(6)
        if form == 0:
            lines.append(entry(rng)[0])
        elif form == 1:
            lines.append(opinion(rng, rng.random() < 0.5))
        elif form == 2:
            lines.append(named(rng)[0])
        elif form == 3:  # a report, and what is so
            premise, hypothesis = attitude(rng, "entailment")
            lines += [premise, str(hypothesis)]
        elif form == 4:  # opposites: never the one, but the other
            premise = statement(rng, (0, 2), never=0)
            lines += [str(premise), str(premise._replace(verb=OPPOSITE[premise.verb], never=True))]
        else:
            lines += [str(s) for s in pair(rng, "entailment")]
    return " . ".join(lines) + " ."


# What pretraining asks under a prefix: of nli one genre, and two skills that are no tasks.
PRETRAINING = {name: task for name, task in TASKS.items() if name not in UNSEEN}
PRETRAINING |= {"nli": written, "dictionary": dictionary, "reasons": reasons}
