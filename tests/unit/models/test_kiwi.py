"""What Kiwi is given is cut beforehand, and nothing of the text is lost by it."""

from hypothesis import given
from hypothesis import strategies as st

from malgeul.models.kiwi import segments


@given(text=st.text(alphabet="가 \n", max_size=200), limit=st.integers(1, 20))
def test_segments_are_the_text_and_none_is_longer_than_the_limit(text, limit):
    pieces = segments(text, limit)
    assert "".join(piece.text for piece in pieces) == text
    assert all(text[piece.start :].startswith(piece.text) and len(piece.text) <= limit for piece in pieces)


def test_a_segment_ends_with_a_line_else_with_a_word():
    assert [piece.text for piece in segments("가 나\n다 라 마", 6)] == ["가 나\n", "다 라 마"]
    assert [piece.text for piece in segments("가나 다라 마바", 7)] == ["가나 다라 ", "마바"]
    assert [piece.text for piece in segments("가나다라마바", 4)] == ["가나다라", "마바"]
