"""Texts that share most of their 5-grams meet in a band, others do not; case, numbers and punctuation do not count."""

import random
import tracemalloc

import numpy as np

from malgeul.text.signatures import BANDS, bands, simplified

WORDS = [f"{a}{b}" for a in "가나다라마바사아자차" for b in "강물산들길집숲별달해"]


def text(rng, words=300):
    return " ".join(rng.choice(WORDS) for _ in range(words))


def meet(one, other):
    return bool((bands(one) == bands(other)).any())


def test_what_is_compared():
    assert simplified("  Ｎｏ. 3,000.5원, \n「말글」—A_b! ") == "no 0원 말글 a b"
    assert bands("네 낱말 뿐 이다") is None
    assert bands("다섯 낱말 이면 서명 된다").shape == (BANDS,)


def test_form_does_not_count():
    rng = random.Random(0)
    one = text(rng)
    assert np.array_equal(bands(one), bands(one.replace(" ", "\n").replace("가강", "가강,") + "."))


def test_the_share_of_pairs_that_meet_is_the_formulas():
    rng = random.Random(1)
    met = {0.9: 0, 0.6: 0, 0.1: 0}
    for share in met:
        for _ in range(60):
            one = text(rng).split()
            # A changed word changes five 5-grams of some 300: so many changes leave that Jaccard index.
            changes = round(300 * (1 - 2 * share / (1 + share)) / 5)
            other = list(one)
            for at in range(2, 300, max(5, 300 // max(changes, 1)))[:changes] if changes <= 60 else range(300):
                other[at] = "바뀜"
            met[share] += meet(" ".join(one), " ".join(other))
    assert met[0.9] == 60
    assert 3 <= met[0.6] <= 45  # 1 - (1 - 0.6^8)^14 = 0.21
    assert met[0.1] == 0


def test_a_long_text_is_signed_in_bounded_memory_block_by_block(monkeypatch):
    rng = random.Random(2)
    long = text(rng, words=100_000)
    tracemalloc.start()
    signature = bands(long)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 50 << 20
    monkeypatch.setattr("malgeul.text.signatures.NGRAMS_AT_ONCE", 7000)
    assert np.array_equal(bands(long), signature)
