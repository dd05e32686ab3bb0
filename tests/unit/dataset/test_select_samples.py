"""The stage says at its first shard what no later one could mend."""

import json

import pytest

from malgeul.dataset.settings import SelectSettings
from malgeul.shards.tables import TableWriter
from malgeul.text.filtering import FILTERED
from select_samples import select_samples


@pytest.mark.parametrize("kind", ["mentions", "sequences"])
def test_a_tokenizer_without_a_mask_is_for_sequences_alone(make_job, results, tmp_path, kind):
    from tokenizers import Tokenizer, models

    Tokenizer(models.WordLevel({"</s>": 0, "말": 1}, unk_token="</s>")).save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": "</s>"}))
    (results / "filtered").mkdir(parents=True)
    with TableWriter(results / "filtered/web-0000.parquet", FILTERED):
        pass
    job = make_job(
        "select",
        "web-0000",
        {"samples": "samples/web-0000.parquet"},
        units=("document", "sample"),
        inputs={"filtered": [results / "filtered/web-0000.parquet"]},
        settings=SelectSettings(kind=kind).model_dump(mode="json"),
        tokenize={"tokenizer": str(tmp_path), "revision": None},
    )
    if kind == "mentions":
        with pytest.raises(ValueError, match="no mask token"):
            job.run(select_samples)
    else:
        job.run(select_samples)
        assert job.outputs["samples"].is_file()
