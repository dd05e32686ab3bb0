"""The tokenizer that is made is the same for the same texts, and is one that BERT's users know."""

from making.texts import demo_texts
from train_tokenizer import INSIDE, SPECIAL, letters, measure, train


def test_the_same_texts_give_the_same_pieces():
    texts = list(demo_texts())
    made = [train(texts, 3000).to_str() for _ in range(3)]
    assert made[0] == made[1] == made[2]


def test_it_has_berts_marks_and_keeps_places_in_the_text():
    tokenizer = train(list(demo_texts()), 3000)
    assert [tokenizer.token_to_id(mark) for mark in SPECIAL] == [0, 1, 2, 3, 4]
    text = "서울에서 회의를 했다."
    encoded = tokenizer.encode(text)
    assert (encoded.tokens[0], encoded.tokens[-1]) == ("[CLS]", "[SEP]")
    spelt = "".join(text[start:end] for start, end in encoded.offsets)
    assert spelt == text.replace(" ", "")
    assert tokenizer.decode(encoded.ids) == "서울에서 회의를 했다."
    assert tokenizer.get_vocab_size() == 3000
    assert "characters on average" in measure(tokenizer, [text])


def test_letters_stand_in_a_fixed_order_as_they_begin_words_and_as_they_stand_inside():
    tokenizer = train(["가나 다가", "나다"], 50)
    assert letters(tokenizer, ["다나 가나다"]) == ["가", "다", f"{INSIDE}나", f"{INSIDE}다"]
