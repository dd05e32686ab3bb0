"""A small WordPiece tokenizer, made on the spot."""

import pytest

SENTENCES = [
    "김민수는 서울에서 블랙핑크 공연을 보았다.",
    "김민수가 부산으로 갔고 서울은 비가 왔다.",
    "블랙핑크는 부산에서 김민수를 만났다.",
]


@pytest.fixture(scope="session")
def wordpiece():
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    names = ["김민수", "서울", "부산", "블랙핑크"] * 50
    trainer = trainers.WordPieceTrainer(vocab_size=200, special_tokens=special)
    tokenizer.train_from_iterator([*SENTENCES, *names], trainer)
    ids = {name: tokenizer.token_to_id(name) for name in ("[CLS]", "[SEP]")}
    tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", special_tokens=list(ids.items()))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )


@pytest.fixture
def tokenizer(wordpiece):
    from malgeul.dataset.tokenizer import PieceTokenizer
    from malgeul.models.tokenizers import FastTokenizer

    return PieceTokenizer(FastTokenizer(wordpiece.backend_tokenizer, "[MASK]"))


@pytest.fixture
def document():
    """A document as filtered/ holds it: every name with its place."""
    import re

    text = " ".join(SENTENCES * 6)
    mentions = [
        {"surface": match[0], "start": match.start(), "end": match.end(), "tag": "NNP"}
        for match in re.finditer("김민수|서울|부산|블랙핑크", text)
    ]
    return {"id": "문서-1", "text": text, "source": "web", "mentions": mentions}
