"""What a document writes is text, whatever the tokenizer's special tokens are."""


def test_a_special_token_that_a_document_writes_is_text_of_it(tokenizer):
    text = "김민수는 [MASK] 서울 [SEP] 부산 [CLS]"
    [ids] = tokenizer.ids([text])
    assert ids.tolist() == tokenizer.pieces(text).ids
    assert not {tokenizer.mask_id, *tokenizer.before.tolist(), *tokenizer.after.tolist()} & set(ids.tolist())
