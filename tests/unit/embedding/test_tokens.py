"""Places in a text are as many tokens apart as begin between them."""

from hypothesis import given
from hypothesis import strategies as st

from malgeul.embedding.tokens import CharacterPlaces, TokenPlaces


@given(st.sets(st.integers(0, 40)), st.integers(0, 45), st.integers(0, 45), st.integers(0, 12))
def test_distances_are_counted_in_the_tokens_that_begin(starts, stop, place, tokens):
    starts, place = sorted(starts), min(place, stop)
    places = TokenPlaces(starts, stop)
    behind, before = [at for at in starts if place <= at < stop], [at for at in starts if at < place]
    assert places.between(place, stop) == len(behind)
    assert places.forward(place, tokens) == (behind[tokens] if tokens < len(behind) else stop)
    assert places.back(place, tokens) == (place if not tokens else before[-tokens] if tokens < len(before) else 0)


def test_characters_are_tokens_of_one_character():
    alike, places = TokenPlaces(range(20), 20), CharacterPlaces(20)
    for place in range(21):
        for n in range(25):
            assert places.forward(place, n) == alike.forward(place, n)
            assert places.back(place, n) == alike.back(place, n)
            assert places.between(min(n, place), place) == alike.between(min(n, place), place)
