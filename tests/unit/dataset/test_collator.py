"""Batches are what a masked language model learns from: a tiny one learns to find the masked mention."""

from collections import Counter

import pytest
import torch

from malgeul.dataset.collator import MaskedMentionCollator
from malgeul.dataset.rows import IGNORED, row_of
from malgeul.dataset.samples import samples_of
from unit.dataset.test_samples import CHOICE


@pytest.fixture
def rows(tokenizer, document):
    samples = list(samples_of(document, tokenizer, CHOICE, Counter()))
    [ids] = tokenizer.ids([document["text"]])
    return [row_of(sample, ids, tokenizer) for sample in samples]


def test_rows_are_padded_to_the_longest_and_padding_counts_for_nothing(rows):
    rows = [rows[0], {**rows[1], "input_ids": rows[1]["input_ids"][:-3], "labels": rows[1]["labels"][:-3]}]
    batch = MaskedMentionCollator(pad_id=0)(rows)
    longest = len(rows[0]["input_ids"])
    assert {name: tuple(values.shape) for name, values in batch.items()} == dict.fromkeys(batch, (2, longest))
    assert batch["attention_mask"].sum(1).tolist() == [longest, longest - 3]
    assert batch["input_ids"][1, -3:].tolist() == [0, 0, 0]
    assert batch["labels"][1, -3:].tolist() == [IGNORED] * 3
    wider = MaskedMentionCollator(pad_id=0, pad_to_multiple_of=8)(rows)
    assert wider["input_ids"].shape[1] % 8 == 0


def test_a_tiny_model_learns_the_masked_mention_with_transformers_trainer(rows, wordpiece, tmp_path):
    from datasets import Dataset
    from transformers import BertConfig, BertForMaskedLM, Trainer, TrainingArguments

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(wordpiece), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64
    )
    model = BertForMaskedLM(config)
    collate = MaskedMentionCollator(wordpiece.pad_token_id)

    def loss_on_masked_mentions():
        with torch.inference_mode():
            return model.eval()(**collate(rows)).loss.item()

    before = loss_on_masked_mentions()
    arguments = TrainingArguments(
        output_dir=str(tmp_path),
        max_steps=30,
        per_device_train_batch_size=8,
        learning_rate=3e-3,
        use_cpu=True,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        seed=0,
    )
    Trainer(model, arguments, train_dataset=Dataset.from_list(rows), data_collator=collate).train()
    assert loss_on_masked_mentions() < 0.5 * before
