"""Samples and the cap depend on content and seed alone, never on an order (facts of the forerunner's faults)."""

import random
from collections import Counter, defaultdict
from dataclasses import replace

import pytest

from malgeul.dataset.mentions import Mention, groups, place, windows
from malgeul.dataset.samples import Choice, samples_of, saturated, split_of

CHOICE = Choice(
    capacity=60,
    profile="malgeul",
    min_distance=5,
    max_distance=200,
    masked_per_group=3,
    seed=0,
    validation_share=0.1,
    test_share=0.2,
)


def test_a_sample_masks_a_mention_that_has_another_before_it_at_a_fitting_distance(tokenizer, document):
    counts = Counter()
    samples = list(samples_of(document, tokenizer, CHOICE, counts))
    assert samples
    pieces = tokenizer.pieces(document["text"])
    placed, misaligned = place([Mention(m["surface"], m["start"], m["end"]) for m in document["mentions"]], pieces)
    cut = list(windows(document["text"], pieces, CHOICE.capacity))
    assert counts == {
        "mentions": len(document["mentions"]),
        "misaligned": misaligned,
        "windows": len(cut),
        "groups": sum(len(groups(placed, window)) for window in cut),
    }
    assert misaligned
    for sample in samples:
        surface = document["text"][sample["masked_start"] : sample["masked_end"]]
        assert surface == sample["entity"]
        end_of_antecedent = sample["masked_start"] - sample["distance"]
        assert document["text"][:end_of_antecedent].endswith(surface)
        assert CHOICE.min_distance <= sample["distance"] <= CHOICE.max_distance
    assert len({sample["sample_id"] for sample in samples}) == len(samples)


def test_all_samples_of_a_document_are_in_one_split_and_shares_are_kept(tokenizer, document):
    assert len({sample["split"] for sample in samples_of(document, tokenizer, CHOICE, Counter())}) == 1
    splits = Counter(split_of(f"doc{k}", CHOICE) for k in range(5000))
    assert abs(splits["test"] / 5000 - 0.2) < 0.03
    assert abs(splits["validation"] / 5000 - 0.1) < 0.03


def test_the_cap_keeps_the_smallest_priorities_in_any_order():
    samples = [(entity, k * 7919 % 1009) for k, entity in enumerate("aaaabbbbbbbbccccccccccccccc" * 3)]
    expected = list(saturated(samples, 10))
    assert [row["entity"] for row in expected] == ["a", "b", "c"]
    for row in expected:
        priorities = sorted(priority for entity, priority in samples if entity == row["entity"])
        assert row["largest_priority"] == priorities[9]
        assert row["samples"] == len(priorities)
    shuffled = random.Random(1).sample(samples, len(samples))
    assert list(saturated(shuffled, 10)) == expected


def test_an_entity_at_the_cap_is_not_capped():
    assert list(saturated([("a", 1), ("a", 2)], 2)) == []


def test_the_forerunners_rules_look_at_the_first_window_and_the_second_to_fourth_mention(tokenizer, document):
    choice = replace(CHOICE, profile="seed_compat", min_distance=0, max_distance=2000)
    ours = replace(choice, profile="malgeul", masked_per_group=100)
    samples = list(samples_of(document, tokenizer, choice, Counter()))
    first_window = [s for s in samples_of(document, tokenizer, ours, Counter()) if s["window_first"] == 0]
    by_entity = defaultdict(list)
    for sample in first_window:
        by_entity[sample["entity"]].append(sample)
    assert samples == [s for s in first_window if s in by_entity[s["entity"]][:3]]
    far = replace(choice, min_distance=max(s["distance"] for s in samples) + 1)
    assert list(samples_of(document, tokenizer, far, Counter())) == []


@pytest.mark.parametrize(
    ("profile", "least", "most", "masked"),
    [
        ("malgeul", 3, 9, [3, 9]),
        ("malgeul", 4, 9, [9, 5]),
        ("malgeul", 3, 8, [3, 5]),
        ("seed_compat", 3, 9, [3, 9]),
        ("seed_compat", 4, 9, [9]),
        ("seed_compat", 3, 8, [3]),
    ],
)
def test_of_a_group_so_many_are_masked_and_the_forerunner_looks_at_so_many_alone(
    tokenizer, profile, least, most, masked
):
    text, mentions = "서울", [{"surface": "서울", "start": 0, "end": 2, "tag": "NNP"}]
    for distance in (3, 9, 5, 7):
        start = len(text) + distance
        text += f" {'가' * (distance - 2)} 서울"
        mentions.append({"surface": "서울", "start": start, "end": start + 2, "tag": "NNP"})
    document = {"id": "문서-2", "text": text, "source": "web", "mentions": mentions}
    choice = replace(CHOICE, profile=profile, min_distance=least, max_distance=most, masked_per_group=2)
    assert [sample["distance"] for sample in samples_of(document, tokenizer, choice, Counter())] == masked
