"""Mentions are whole pieces, windows hold everything once, groups lie inside one window."""

import pytest

from malgeul.dataset.mentions import Mention, groups, place, windows
from malgeul.dataset.tokenizer import Pieces, PieceTokenizer
from malgeul.models.tokenizers import FastTokenizer


def test_a_mention_is_its_surface_in_whole_pieces(tokenizer, document):
    pieces = tokenizer.pieces(document["text"])
    mentions = [Mention(m["surface"], m["start"], m["end"]) for m in document["mentions"]]
    placed, misaligned = place(mentions, pieces)
    assert len(placed) + misaligned == len(mentions)
    assert placed
    for found in placed:
        start, end = pieces.spans[found.first][0], pieces.spans[found.last - 1][1]
        assert document["text"][start:end] == found.mention.surface


@pytest.mark.parametrize("family", ["ByteLevel", "Metaspace"])
def test_a_piece_that_takes_in_the_space_before_a_name_spells_it(family):
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = getattr(pre_tokenizers, family)()
    trainer = trainers.BpeTrainer(special_tokens=["<s>", "</s>"], show_progress=False)
    backend.train_from_iterator(["서울 사람 서울 사람 서울"] * 20, trainer)
    backend.post_processor = processors.TemplateProcessing("<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)])
    text = "사람 서울 사람 서울"
    pieces = PieceTokenizer(FastTokenizer(backend, mask_token=None)).pieces(text)
    placed, misaligned = place([Mention("서울", 3, 5), Mention("서울", 9, 11)], pieces)
    assert ([(mention.first, mention.last) for mention in placed], misaligned) == ([(1, 2), (3, 4)], 0)


def test_a_piece_that_reaches_over_the_border_leaves_the_mention_out():
    pieces = Pieces([1, 2], [(0, 4), (4, 6)])  # 서울에서 | 는
    placed, misaligned = place([Mention("서울", 0, 2), Mention("에서", 2, 4), Mention("서울에서", 0, 4)], pieces)
    assert ([(one.first, one.last) for one in placed], misaligned) == ([(0, 1)], 2)


def test_a_piece_without_characters_is_no_part_of_a_mention():
    pieces = Pieces([1, 2, 3, 4], [(0, 2), (2, 2), (2, 4), (4, 4)])
    placed, _ = place([Mention("서울", 0, 2), Mention("부산", 2, 4)], pieces)
    assert [(one.first, one.last) for one in placed] == [(0, 1), (2, 3)]


def test_a_character_in_bytes_is_a_border_only_where_no_piece_joins_it_with_the_next():
    # 서 | two bytes of 울 | the third | 은; then the third with 은
    whole, over = Pieces([1, 2, 3, 4], [(0, 1), (1, 2), (1, 2), (2, 3)]), Pieces([1, 2, 5], [(0, 1), (1, 2), (1, 3)])
    [placed], misaligned = place([Mention("서울", 0, 2)], whole)
    assert (placed.first, placed.last, misaligned) == (0, 3, 0)
    assert place([Mention("서울", 0, 2)], over) == ([], 1)
    assert place([Mention("은", 2, 3)], Pieces([1, 5], [(0, 2), (1, 3)])) == ([], 1)


@pytest.mark.parametrize("capacity", [1, 3, 7, 20, 1000])
def test_windows_hold_every_piece_once_and_never_more_than_they_can(tokenizer, document, capacity):
    pieces = tokenizer.pieces(document["text"])
    cut = list(windows(document["text"], pieces, capacity))
    assert [k for window in cut for k in range(window.first, window.last)] == list(range(len(pieces)))
    assert all(window.last - window.first <= capacity for window in cut)


def test_windows_end_between_words(tokenizer, document):
    pieces = tokenizer.pieces(document["text"])
    for window in list(windows(document["text"], pieces, 20))[1:]:
        assert document["text"][pieces.spans[window.first][0] - 1] == " "


def test_a_group_has_two_mentions_or_more_all_in_the_window(tokenizer, document):
    pieces = tokenizer.pieces(document["text"])
    placed, _ = place([Mention(m["surface"], m["start"], m["end"]) for m in document["mentions"]], pieces)
    found = 0
    for window in windows(document["text"], pieces, 30):
        for surface, group in groups(placed, window).items():
            found += 1
            assert len(group) > 1
            assert all(mention.mention.surface == surface for mention in group)
            assert all(window.first <= mention.first < mention.last <= window.last for mention in group)
    assert found
