"""A small English lexicon in ARPAbet, and random sentences from it.

Pronunciations follow the CMU Pronouncing Dictionary without stress marks, except for four words.
Within a word class, words are listed from frequent to rare and drawn by Zipf's law. A bigram model
decides which class follows which.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from decoder.phonemes import CLASSES, SEPARATOR_ID

_WORDS = {
    "subject": """
        I=AY you=Y UW it=IH T we=W IY they=DH EY he=HH IY she=SH IY that=DH AE T this=DH IH S
        everyone=EH V R IY W AH N people=P IY P AH L nobody=N OW B AA D IY mother=M AH DH ER
        father=F AA DH ER something=S AH M TH IH NG""",
    "auxiliary": """
        can=K AE N will=W IH L would=W UH D should=SH UH D could=K UH D must=M AH S T
        might=M AY T do=D UW did=D IH D never=N EH V ER always=AO L W EY Z really=R IH L IY
        usually=Y UW ZH AH W AH L IY just=JH AH S T""",
    "verb": """
        know=N OW have=HH AE V like=L AY K think=TH IH NG K want=W AA N T get=G EH T go=G OW
        see=S IY need=N IY D say=S EY make=M EY K take=T EY K come=K AH M look=L UH K
        give=G IH V tell=T EH L work=W ER K find=F AY N D call=K AO L try=T R AY ask=AE S K
        feel=F IY L keep=K IY P put=P UH T leave=L IY V play=P L EY hear=HH IY R help=HH EH L P
        talk=T AO K show=SH OW read=R IY D enjoy=EH N JH OY watch=W AA CH use=Y UW Z
        bring=B R IH NG buy=B AY choose=CH UW Z wash=W AA SH teach=T IY CH join=JH OY N
        visit=V IH Z AH T change=CH EY N JH measure=M EH ZH ER push=P UH SH""",
    "object": """
        it=IH T you=Y UW me=M IY them=DH EH M him=HH IH M her=HH ER us=AH S""",
    "determiner": """
        the=DH AH a=AH my=M AY your=Y AO R that=DH AE T this=DH IH S some=S AH M our=AW ER
        his=HH IH Z their=DH EH R every=EH V ER IY both=B OW TH one=W AH N two=T UW
        three=TH R IY five=F AY V""",
    "adjective": """
        good=G UH D new=N UW big=B IH G old=OW L D little=L IH T AH L great=G R EY T long=L AO NG
        own=OW N right=R AY T small=S M AO L young=Y AH NG nice=N AY S white=W AY T black=B L AE K
        happy=HH AE P IY bad=B AE D strange=S T R EY N JH usual=Y UW ZH AH W AH L cheap=CH IY P
        loud=L AW D smooth=S M UW DH thick=TH IH K royal=R OY AH L yellow=Y EH L OW
        rich=R IH CH huge=HH Y UW JH""",
    "noun": """
        time=T AY M thing=TH IH NG people=P IY P AH L way=W EY year=Y IH R day=D EY house=HH AW S
        school=S K UW L work=W ER K money=M AH N IY man=M AE N family=F AE M AH L IY kids=K IH D Z
        place=P L EY S book=B UH K car=K AA R friend=F R EH N D week=W IY K job=JH AA B
        water=W AO T ER food=F UW D night=N AY T music=M Y UW Z IH K girl=G ER L boy=B OY
        story=S T AO R IY town=T AW N voice=V OY S dog=D AO G choice=CH OY S church=CH ER CH
        child=CH AY L D month=M AH N TH game=G EY M color=K AH L ER garden=G AA R D AH N
        television=T EH L AH V IH ZH AH N vision=V IH ZH AH N pleasure=P L EH ZH ER
        treasure=T R EH ZH ER noise=N OY Z point=P OY N T mouth=M AW TH bath=B AE TH fish=F IH SH
        ship=SH IH P shoes=SH UW Z judge=JH AH JH page=P EY JH hand=HH AE N D chair=CH EH R""",
    "preposition": """
        of=AH V in=IH N to=T UW for=F AO R on=AA N with=W IH DH at=AE T from=F R AH M
        about=AH B AW T by=B AY around=ER AW N D without=W IH TH AW T near=N IH R
        through=TH R UW under=AH N D ER""",
    "adverb": """
        now=N AW here=HH IY R there=DH EH R too=T UW again=AH G EH N today=T AH D EY
        together=T AH G EH DH ER away=AH W EY outside=AW T S AY D much=M AH CH
        tomorrow=T AH M AA R OW soon=S UW N enough=AH N AH F""",
}

# Class → classes that may follow it, with their probabilities.
_FOLLOWS = {
    "subject": {"verb": 0.55, "auxiliary": 0.45},
    "auxiliary": {"verb": 1.0},
    "verb": {"object": 0.25, "determiner": 0.45, "preposition": 0.15, "adverb": 0.15},
    "object": {"preposition": 0.4, "adverb": 0.35, "subject": 0.25},
    "determiner": {"noun": 0.65, "adjective": 0.35},
    "adjective": {"noun": 1.0},
    "noun": {"preposition": 0.5, "adverb": 0.3, "subject": 0.2},
    "preposition": {"determiner": 0.8, "noun": 0.2},
    "adverb": {"subject": 0.6, "preposition": 0.4},
}
_STARTS = {"subject": 0.8, "determiner": 0.1, "adverb": 0.1}

# Words that have another first pronunciation in the dictionary.
_NOT_AS_IN_CMUDICT = ("enough", "read", "use", "visit")


@dataclass(frozen=True)
class Sentence:
    """A sentence and its phoneme classes.

    Attributes:
        text: words with single spaces.
        labels: classes 1 to 40, with the separator after each word.
    """

    text: str
    labels: tuple[int, ...]


@cache
def word_classes() -> dict[str, tuple[tuple[str, tuple[int, ...]], ...]]:
    """Word class → its words, frequent ones first, each with its phoneme classes."""
    classes = {}
    for name, text in _WORDS.items():
        words: list[tuple[str, list[int]]] = []
        for token in text.split():
            word, equals, phoneme = token.rpartition("=")
            if equals:
                words.append((word, []))
            words[-1][1].append(CLASSES.index(phoneme))
        classes[name] = tuple((word, tuple(phonemes)) for word, phonemes in words)
    return classes


@cache
def pronunciations() -> dict[str, tuple[int, ...]]:
    """Word in lower case → its phoneme classes, for every word of the lexicon."""
    return {word.lower(): spoken for words in word_classes().values() for word, spoken in words}


def pronunciation_file() -> str:
    """The words that CMUdict pronounces differently, in its format, as a file for recordings.

    With this file and CMUdict, every word of the lexicon has the phonemes of the lexicon.
    """
    return "".join(
        f"{word}  {' '.join(CLASSES[phoneme] for phoneme in pronunciations()[word])}\n"
        for word in _NOT_AS_IN_CMUDICT
    )


def draw_sentence(n_words: int, rng: np.random.Generator) -> Sentence:
    """Draw a sentence.

    Args:
        n_words: its length in words.
        rng: the source of randomness.
    """
    words: list[str] = []
    labels: list[int] = []
    following = _STARTS
    for _ in range(n_words):
        names = tuple(following)
        name = names[rng.choice(len(names), p=tuple(following.values()))]
        candidates = word_classes()[name]
        word, phonemes = candidates[rng.choice(len(candidates), p=_zipf(len(candidates)))]
        words.append(word)
        labels += [*phonemes, SEPARATOR_ID]
        following = _FOLLOWS[name]
    return Sentence(" ".join(words), tuple(labels))


@cache
def _zipf(n_words: int) -> NDArray[np.float64]:
    weights: NDArray[np.float64] = 1.0 / np.arange(3, 3 + n_words, dtype=np.float64)
    weights /= weights.sum()
    return weights
