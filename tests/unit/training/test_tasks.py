"""What a step computes does not depend on how many rows are computed at a time, and measures are what they say."""

import json
import math
import shutil
from functools import partial

import pytest
import torch
from torch.nn.functional import cross_entropy

from malgeul.dataset.collator import MaskedMentionCollator
from malgeul.tasks import task_of
from malgeul.training.classes import ClassifierTask, sorted_labels
from malgeul.training.masked import IGNORED, MaskedPlaces, MentionTask, SequenceTask
from malgeul.training.pairs import PairTask, key_of, spearman
from malgeul.training.ranks import Ranks
from malgeul.training.settings import settings_of
from malgeul.training.tasks import Pass, parts
from unit.training.conftest import TOKENIZER, make_base, mention_rows, sequence_rows

COLLATE = MaskedMentionCollator(0)


def no_rows(split):
    return []


def gradients(task, model, batch, at_once):
    """Return the loss of a step and the gradients that it leaves."""
    model.zero_grad()
    loss = task.learn(Pass(model, Ranks(), torch.Tensor.backward), batch, at_once)
    return loss, {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}


def assert_same(found, wanted):
    assert found[0] == pytest.approx(float(wanted[0]), rel=1e-5)
    assert found[1].keys() == wanted[1].keys()
    for name, gradient in wanted[1].items():
        torch.testing.assert_close(found[1][name], gradient, rtol=1e-4, atol=1e-6)


def test_parts_hold_every_row_once_cut_to_the_longest_of_each():
    batch = COLLATE(mention_rows(10, 0))
    found = list(parts(batch, 4))
    assert [len(part["labels"]) for part in found] == [4, 4, 2]
    assert all(int(part["attention_mask"].sum(1).max()) == part["attention_mask"].shape[1] for part in found)
    rows = sorted(
        tuple(row[mask.bool()].tolist())
        for p in found
        for row, mask in zip(p["labels"], p["attention_mask"], strict=True)
    )
    assert rows == sorted(tuple(row["labels"]) for row in mention_rows(10, 0))


ARCHITECTURES = {
    "bert": {},
    "roberta": {},
    "electra": {"embedding_size": 32},
    "deberta-v2": {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "type_vocab_size": 0},
    "distilbert": {"dim": 32, "hidden_dim": 64, "n_layers": 2, "n_heads": 2},
    "modernbert": {"pad_token_id": 0, "global_attn_every_n_layers": 1, "local_attention": 16},
}


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_a_head_that_sees_masked_places_alone_gives_the_loss_of_one_that_sees_all(kind):
    from transformers import AutoConfig, AutoModelForMaskedLM

    small = {
        "vocab_size": 3000,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
    }
    torch.manual_seed(0)
    model = AutoModelForMaskedLM.from_config(AutoConfig.for_model(kind, **{**small, **ARCHITECTURES[kind]})).eval()
    batch = COLLATE(mention_rows(6, 0))
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    whole = cross_entropy(logits.flatten(0, 1), batch["labels"].flatten(), ignore_index=IGNORED, reduction="sum")
    places = MaskedPlaces()
    places.watch(model)
    found, labels = places.predict(model, batch)
    assert found.shape == (12, 3000)
    assert float(cross_entropy(found, labels, reduction="sum")) == pytest.approx(float(whole), rel=1e-5)
    assert model(input_ids=batch["input_ids"]).logits.shape[1] == batch["input_ids"].shape[1], "it cuts only when asked"


@pytest.mark.parametrize("at_once", [1, 3, 4])
def test_gradients_of_masked_pieces_are_those_of_the_whole_batch(base, at_once):
    task = MentionTask(no_rows, COLLATE)
    model = task.load(str(base))
    batch = task.collate(mention_rows(8, 1))
    assert_same(gradients(task, model, batch, at_once), gradients(task, model, batch, 8))


def pair_task(**more):
    from malgeul.embedding.encoder import pool_padded

    collate = partial(lambda rows: {k: COLLATE(rows)[k] for k in ("input_ids", "attention_mask")})

    def padded(rows):
        return collate([{**row, "labels": row["input_ids"]} for row in rows])

    return PairTask(no_rows, padded, partial(pool_padded, how="mean"), scale=20.0, batch=4, **more)


def pair_rows(number):
    ids = [row["input_ids"] for row in sequence_rows(2 * number, 3)]
    return [
        {"query_ids": query, "positive_ids": answer, "key": k}
        for k, (query, answer) in enumerate(zip(ids[0::2], ids[1::2], strict=True))
    ]


@pytest.mark.parametrize("folder", ["base", "base_with_dropout"])
@pytest.mark.parametrize("at_once", [1, 3])
def test_gradients_of_a_batch_of_pairs_do_not_need_it_whole_in_memory(request, folder, at_once):
    task = pair_task()
    model = task.load(str(request.getfixturevalue(folder)))
    batch = task.collate(pair_rows(8))
    if folder == "base_with_dropout":
        # Dropout differs with the parts; but the two passes over a part must leave out the same.
        model.train()
        torch.manual_seed(5)
        found = gradients(task, model, batch, at_once)
        torch.manual_seed(5)
        texts = {name: values for name, values in batch.items() if name != "key"}
        texts["place"] = torch.arange(16)
        model.zero_grad()
        pieces = [(part["place"], task.vectors(model, part)) for part in parts(texts, 2 * at_once)]
        order = torch.cat([place for place, _ in pieces]).argsort()
        loss = task.loss(torch.cat([vectors for _, vectors in pieces])[order], batch["key"])
        loss.backward()
        wanted = {n: w.grad.clone() for n, w in model.named_parameters() if w.grad is not None}
        assert_same(found, (loss, wanted))
    else:
        assert_same(gradients(task, model, batch, at_once), gradients(task, model, batch, 8))


def test_equal_answers_of_a_batch_are_no_wrong_ones():
    task = pair_task()
    vectors = torch.nn.functional.normalize(torch.randn(6, 8, generator=torch.Generator().manual_seed(0)), dim=1)
    twice = torch.cat([vectors, vectors[:2]])  # the first pair again
    keys = torch.tensor([0, 0, 1, 1, 2, 2, 0, 0])
    logits = 20 * twice[0::2] @ twice[1::2].T
    logits[0, 3] = logits[3, 0] = float("-inf")
    assert float(task.loss(twice, keys)) == pytest.approx(float(cross_entropy(logits, torch.arange(4))))


def test_retrieval_counts_the_rank_of_the_right_answer():
    task = pair_task()
    queries = torch.eye(4)
    answers = torch.stack([queries[0], queries[2], queries[1], queries[3]])  # the middle two are swapped
    keys = torch.tensor([[0, k] for k in range(4)]).float()
    figures = task.figures(torch.cat([queries, answers, keys], 1))
    assert figures["recall_at_1"] == 0.5
    assert figures["recall_at_10"] == 1.0
    assert 0.5 < figures["mrr"] < 1


def test_keys_of_texts_survive_the_table_of_judged_rows(base):
    task = pair_task()
    key = key_of("답")
    judged = task.judge(task.load(str(base)).eval(), [{**pair_rows(1)[0], "key": key}])
    halves = judged[:, -2:].long()
    assert int((halves[:, 0] << 20) | halves[:, 1]) == key


def test_spearman_is_that_of_ranks():
    assert spearman([1, 2, 3, 4], [10, 100, 1000, 10_000]) == pytest.approx(1)
    assert spearman([1, 2, 3, 4], [4, 3, 2, 1]) == pytest.approx(-1)
    assert spearman([1, 1], [1, 2]) is None


def sequence_task(seed=0, share=0.15):
    return SequenceTask(
        no_rows,
        COLLATE,
        mask_id=4,
        special=[0, 2, 3],
        vocabulary=8000,
        share=share,
        seed=seed,
    )


def unlabelled(rows):
    batch = COLLATE([{**row, "labels": row["input_ids"]} for row in rows])
    return {name: batch[name] for name in ("input_ids", "attention_mask")}


def test_masks_depend_on_seed_step_and_row_alone():
    rows = sequence_rows(40, 0)
    task = sequence_task()
    whole = task.prepare(unlabelled(rows), 7)
    alone = task.prepare(unlabelled(rows[11:12]), 7)
    width = alone["labels"].shape[1]
    assert whole["labels"][11, :width].tolist() == alone["labels"][0].tolist()
    assert whole["input_ids"][11, :width].tolist() == alone["input_ids"][0].tolist()
    for other in (task.prepare(unlabelled(rows), 8), sequence_task(seed=1).prepare(unlabelled(rows), 7)):
        assert not torch.equal(other["labels"], whole["labels"])
    assert torch.equal(task.prepare(unlabelled(rows), None)["labels"], task.prepare(unlabelled(rows), None)["labels"])


def test_a_share_of_pieces_is_masked_as_bert_does_and_special_ones_never():
    rows = [{"input_ids": [2, *range(1000, 1998), 3]} for _ in range(20)]
    batch = unlabelled(
        [{"input_ids": [2, *[1000 + (k * 7 + n) % 5000 for k in range(998)], 3]} for n in range(len(rows))]
    )
    found = sequence_task().prepare(batch, 0)
    chosen = found["labels"] != IGNORED
    assert not chosen[:, [0, -1]].any()
    assert float(chosen.float().mean()) == pytest.approx(0.15, abs=0.01)
    assert torch.equal(found["labels"][chosen], batch["input_ids"][chosen])
    assert torch.equal(found["input_ids"][~chosen], batch["input_ids"][~chosen])
    shown = found["input_ids"][chosen]
    assert float((shown == 4).float().mean()) == pytest.approx(0.8, abs=0.03)
    assert float((shown == batch["input_ids"][chosen]).float().mean()) == pytest.approx(0.1, abs=0.03)


def test_a_row_always_has_a_piece_to_predict():
    found = sequence_task(share=1e-9).prepare(unlabelled(sequence_rows(10, 0)), 0)
    assert (found["labels"] != IGNORED).sum(1).tolist() == [1] * 10


def test_mentions_are_found_exactly_or_by_their_first_piece():
    judged = torch.tensor([[1.0, 2, 2, 1, 1], [3.0, 2, 1, 0, 1], [2.0, 1, 0, 0, 0], [0.0, 3, 1, 0, 0]])
    figures = MentionTask(no_rows, COLLATE).figures(judged)
    assert figures == {"loss": 6 / 8, "exact_accuracy": 0.25, "first_piece_accuracy": 0.5, "piece_accuracy": 0.5}


def test_judging_counts_what_the_model_finds(base):
    task = MentionTask(no_rows, COLLATE)
    model = task.load(str(base)).eval()
    rows = mention_rows(5, 2)
    batch = COLLATE(rows)
    said = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits.argmax(-1)
    rows[3]["labels"] = [IGNORED if label == IGNORED else int(said[3, k]) for k, label in enumerate(rows[3]["labels"])]
    judged = task.judge(model, rows)
    assert judged[:, 3].tolist() == [0, 0, 0, 1, 0]
    assert judged[3].tolist()[1:] == [2, 2, 1, 1]


def test_f1_is_that_of_each_label_and_a_label_that_never_occurs_has_none():
    task = ClassifierTask(no_rows, COLLATE, ["a", "b", "c"])
    said = [("a", "a"), ("a", "a"), ("a", "b"), ("b", "b")]
    judged = torch.tensor([[0.5, "abc".index(label), "abc".index(other)] for label, other in said])
    figures = task.figures(judged)
    assert figures["f1"] == {"a": pytest.approx(0.8), "b": pytest.approx(2 / 3), "c": None}
    assert figures["macro_f1"] == pytest.approx((0.8 + 2 / 3) / 2)
    assert (figures["accuracy"], figures["majority_accuracy"]) == (0.75, 0.75)
    assert figures["confusion"] == [[2, 1, 0], [0, 1, 0], [0, 0, 0]]


def test_a_classifier_needs_two_labels():
    assert sorted_labels(["b", "a", "b"]) == ["a", "b"]
    with pytest.raises(ValueError, match=r"1 label \(a\); two are needed"):
        sorted_labels(["a", "a"])


def test_perplexity_of_a_hopeless_model_is_a_number():
    figures = sequence_task().figures(torch.tensor([[1e6, 1.0, 0, 0, 0]]))
    assert math.isfinite(figures["perplexity"])


def test_a_base_with_another_vocabulary_is_refused(base, mentions, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(base, other)
    tokenizer = json.loads((other / "tokenizer.json").read_text(encoding="utf-8"))
    pieces = tokenizer["model"]["vocab"]
    pieces["갸갸갸"] = pieces.pop(next(piece for piece, number in pieces.items() if number == 5000))
    (other / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    settings = settings_of({"kind": "coref", "base": str(other)})
    with pytest.raises(ValueError, match=r"another vocabulary than the dataset's tokenizer .*tokenize\.tokenizer"):
        task_of(settings, other, base, dataset=mentions)
    (other / "tokenizer.json").unlink()
    task_of(settings, other, base, dataset=mentions)  # without one of its own the number of pieces must do


@pytest.mark.parametrize("kind", ["coref", "mlm"])
def test_rows_longer_than_the_base_takes_are_refused_before_the_first_step(mentions, tmp_path, kind):
    """Such a row may come late, and on a GPU it ends the process without a word of why."""
    task = task_of(
        settings_of({"kind": kind, "base": "it"}), make_base(tmp_path, positions=14), TOKENIZER, dataset=mentions
    )
    with pytest.raises(ValueError, match=r"takes 14 pieces, .* rows of up to 15; lower select\.sequence_length"):
        task.load(str(tmp_path))


def test_a_text_is_cut_to_what_the_base_takes(labelled_file, tmp_path):
    settings = settings_of({"kind": "classifier", "base": "it", "files": [str(labelled_file)]})
    task = task_of(settings, make_base(tmp_path, positions=12), TOKENIZER, files=[labelled_file])
    assert max(len(row["input_ids"]) for row in task.rows("train")) == 12


def test_a_base_with_a_layer_behind_the_pooling_is_refused(pairs_file, tmp_path):
    """Its vectors are made with that layer, which would learn nothing and be missing from what is saved."""
    make_base(tmp_path)
    kinds = {"": "Transformer", "1_Pooling": "Pooling", "2_Dense": "Dense"}
    modules = [{"path": path, "type": f"sentence_transformers.models.{kind}"} for path, kind in kinds.items()]
    (tmp_path / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    for path, config in (("1_Pooling", {"pooling_mode": "mean"}), ("2_Dense", {"in_features": 64, "out_features": 8})):
        (tmp_path / path).mkdir()
        (tmp_path / path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (tmp_path / "2_Dense/model.safetensors").touch()
    settings = settings_of({"kind": "embedding", "base": "it", "files": [str(pairs_file)]})
    with pytest.raises(ValueError, match="has a Dense module behind the pooling"):
        task_of(settings, tmp_path, tmp_path, files=[pairs_file])
