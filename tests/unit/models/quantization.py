"""A quantized copy is made once, is small, and answers nearly as its model does; run by test_quantization."""

import json
from contextlib import nullcontext

import pytest
import torch

from malgeul import ROOT
from malgeul.models import quantization
from malgeul.models.classifier import identity_of, load_classifiers
from malgeul.models.devices import claimed_device, cpu
from malgeul.models.loading import folder_of
from malgeul.models.quantization import is_quantized, quantized_copy
from malgeul.models.settings import TextClassifier
from malgeul.models.weights import load_model
from malgeul.shards.ledger import Ledger, Units
from quantize_model import quantize_model


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture(scope="module")
def judge(tmp_path_factory):
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    folder = tmp_path_factory.mktemp("models") / "judge"
    tokenizer = AutoTokenizer.from_pretrained(str(ROOT / "resources/models/tokenizer-ko-demo"))
    tokenizer.save_pretrained(str(folder))
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=128, num_hidden_layers=4, num_attention_heads=2, intermediate_size=512,
        initializer_range=0.2, id2label={0: "bad", 1: "good"},
    )  # fmt: skip
    BertForSequenceClassification(config).save_pretrained(str(folder))
    return folder


def test_a_copy_is_made_once_with_all_that_the_model_needs_and_fewer_bytes(judge, home, monkeypatch):
    copy = quantized_copy(judge, "int8")
    assert copy.is_relative_to(home)
    assert is_quantized(copy)
    assert not is_quantized(judge)
    assert (copy / "tokenizer.json").read_bytes() == (judge / "tokenizer.json").read_bytes()
    # Embeddings stay as they are.
    embedded = 4 * 128 * (json.loads((judge / "config.json").read_text())["vocab_size"] + 512 + 2)
    whole, small = ((folder / "model.safetensors").stat().st_size - embedded for folder in (judge, copy))
    assert small < 0.35 * whole
    told = quantize_model(str(judge), None, "int8")
    assert told["bytes_before"] == (judge / "model.safetensors").stat().st_size > told["bytes"] > embedded
    monkeypatch.setattr(quantization, "_make", lambda *_: pytest.fail("made again"))
    assert folder_of(str(judge), None, quantization="int8") == copy


def test_a_classifier_of_fewer_bits_answers_nearly_as_the_whole_one(judge):
    texts = ["검찰청 수사관입니다.", "내일 뵙겠습니다.", "네"]
    whole = TextClassifier(model=str(judge))
    small = TextClassifier(model=str(judge), quantization="int8")
    found = load_classifiers(
        {"whole": whole, "small": small}, cpu(), 1, Ledger("classify", "x", Units("recording", "recording"))
    )
    for one, other in zip(found["whole"](texts), found["small"](texts), strict=True):
        assert one == pytest.approx(other, abs=0.15), "of random weights, which magnify every step"
    assert identity_of(whole) != identity_of(small)


@pytest.mark.parametrize(("bits", "nearness"), [("int8", 0.999), pytest.param("int4", 0.995, marks=pytest.mark.gpu)])
def test_vectors_of_fewer_bits_are_nearly_those_of_the_whole_model(bits, nearness):
    from transformers import AutoTokenizer

    bundled = ROOT / "resources/models/embed-ko-demo"
    ids = AutoTokenizer.from_pretrained(str(bundled))("오늘 회의는 세 시에 시작합니다.", return_tensors="pt")
    given = {name: ids[name] for name in ("input_ids", "attention_mask")}
    vectors = []
    with claimed_device() if bits == "int4" else nullcontext(cpu()) as device:
        for folder in (bundled, quantized_copy(bundled, bits)):
            model = load_model("embed", folder, device).model
            with torch.inference_mode():
                hidden = model(**{name: ids.to(model.device) for name, ids in given.items()}).last_hidden_state
            vectors.append(hidden.float().mean(1)[0].cpu())
    assert is_quantized(folder)
    assert not torch.equal(*vectors)
    assert torch.nn.functional.cosine_similarity(*vectors, dim=0) > nearness, "and so every number is finite"


def test_weights_of_four_bits_need_a_gpu(judge):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(ValueError, match="on a GPU"):
        quantized_copy(judge, "int4")
