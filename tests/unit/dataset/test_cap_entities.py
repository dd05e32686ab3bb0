"""The cap over all shards: which names have too many samples, and what is told of all names."""

import random

import pytest

from cap_entities import cap_entities
from malgeul.dataset.samples import SAMPLES
from malgeul.shards.ledger import read_ledger
from malgeul.shards.tables import TableWriter, read_rows


@pytest.fixture
def cap(make_job, results):
    """Write samples (entity, distance) of shards, and return the capped entities and what was measured."""

    def run(shards, largest):
        files = []
        for shard, samples in shards.items():
            files.append(results / "samples" / f"{shard}.parquet")
            files[-1].parent.mkdir(parents=True, exist_ok=True)
            with TableWriter(files[-1], SAMPLES) as table:
                for number, (entity, distance) in enumerate(samples):
                    table.write(
                        {
                            "sample_id": f"{shard}/{number}", "doc_id": "1", "source": "web", "split": "train",
                            "window_first": 0, "window_last": 96, "masked_index": 0,
                            "mention_starts": [], "mention_ends": [],
                            "entity": entity, "masked_start": 5, "masked_end": 7, "distance": distance,
                            "priority": random.Random(f"{shard} {number}").getrandbits(63),
                        }
                    )  # fmt: skip
        job = make_job(
            "cap",
            "all",
            {"entity_cap": "entity_cap.parquet"},
            units=("sample", "saturated entity"),
            inputs={"samples": files},
            max_entity_freq=largest,
        )
        job.run(cap_entities)
        return list(read_rows(results / "entity_cap.parquet")), read_ledger(job.outputs["ledger"]).measured

    return run


def test_names_over_the_cap_are_found_over_all_shards(cap):
    shards = {"web-0000": [("서울", 20)] * 6 + [("부산", 40)] * 2, "web-0001": [("서울", 10)] * 3 + [("대전", 99)]}
    rows, measured = cap(shards, 4)
    assert [(row["entity"], row["samples"]) for row in rows] == [("서울", 9)]
    assert measured == {
        "max_entity_freq": 4, "entities": 3, "saturated_entities": 1, "samples_over_cap": 5,
        "distance_10_percent": 10, "distance_50_percent": 20, "distance_90_percent": 40,
    }  # fmt: skip


def test_so_many_samples_stay_as_the_cap_says(cap):
    shards = {f"web-000{k}": [("서울", 20)] * 40 for k in range(3)}
    [row], _ = cap(shards, 25)
    priorities = [random.Random(f"{shard} {n}").getrandbits(63) for shard in shards for n in range(40)]
    assert sum(priority <= row["largest_priority"] for priority in priorities) == 25


def test_sequences_have_no_names(cap):
    rows, measured = cap({"web-0000": [("", 0)] * 50}, 10)
    assert rows == []
    assert measured == {"max_entity_freq": 10, "entities": 0, "saturated_entities": 0, "samples_over_cap": 0}
