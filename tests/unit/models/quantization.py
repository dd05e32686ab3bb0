"""A quantized copy is made once, is small, and answers nearly as its model does; run by test_quantization."""

import importlib.util
import json
import subprocess
import sys
from contextlib import nullcontext

import pytest
import torch
from safetensors.torch import load_file

from malgeul import ROOT
from malgeul.models import quantization
from malgeul.models.classifier import identity_of, load_classifiers
from malgeul.models.devices import claimed_device, cpu
from malgeul.models.loading import folder_of
from malgeul.models.quantization import PACKAGES, is_quantized, quantized_copy
from malgeul.models.settings import TextClassifier
from malgeul.models.weights import load_model
from malgeul.shards.ledger import Ledger, Units
from quantize_model import quantize_model

BUNDLED = ROOT / "resources/models/embed-ko-demo"
TEXTS = ["검찰청 수사관입니다.", "내일 뵙겠습니다.", "네"]


def given(bits, *more, marks=()):
    """Return a case for so many bits, left out where what makes them is not installed."""
    lacking = importlib.util.find_spec(PACKAGES[bits]) is None
    return pytest.param(
        bits, *more, marks=[*marks, pytest.mark.skipif(lacking, reason=f"{PACKAGES[bits]} is not installed")]
    )


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
        initializer_range=0.1, id2label={0: "bad", 1: "good"},
    )  # fmt: skip
    BertForSequenceClassification(config).save_pretrained(str(folder))
    return folder


@pytest.fixture(scope="module")
def adapter(judge, tmp_path_factory):
    """An adapter of the judge's as a training leaves it: with a head of its own, of three labels."""
    from peft import LoraConfig, get_peft_model
    from transformers import BertForSequenceClassification

    folder = tmp_path_factory.mktemp("models") / "adapter"
    torch.manual_seed(1)
    labels = dict(enumerate(["mild", "sharp", "none"]))
    model = BertForSequenceClassification.from_pretrained(
        str(judge), id2label=labels, num_labels=3, ignore_mismatched_sizes=True
    )
    wanted = LoraConfig(task_type="SEQ_CLS", r=4, target_modules=["query", "value"], init_lora_weights=False)
    wrapped = get_peft_model(model, wanted)
    wrapped.save_pretrained(str(folder))
    model.config.save_pretrained(str(folder))
    return folder


def vector_of(model, ids):
    """Return the mean of a text's last hidden states."""
    with torch.inference_mode():
        hidden = model(**{name: ids[name].to(model.device) for name in ("input_ids", "attention_mask")})
    return hidden.last_hidden_state.float().mean(1)[0].cpu()


def ids_of(text):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(BUNDLED))(text, return_tensors="pt")


def nearness(one, other):
    return torch.nn.functional.cosine_similarity(one.flatten(), other.flatten(), dim=0)


@pytest.mark.parametrize("bits", [given("int8"), given("int4")])
def test_a_copy_is_made_once_with_all_that_the_model_needs(judge, home, monkeypatch, bits):
    copy = quantized_copy(judge, bits)
    assert copy.is_relative_to(home)
    assert is_quantized(copy)
    assert not is_quantized(judge)
    assert (copy / "tokenizer.json").read_bytes() == (judge / "tokenizer.json").read_bytes()
    told = quantize_model(str(judge), None, bits)
    assert told["bytes_before"] == (judge / "model.safetensors").stat().st_size > told["bytes"]
    monkeypatch.setattr(quantization, "_make", lambda *_: pytest.fail("made again"))
    assert folder_of(str(judge), None, quantization=bits) == copy


@pytest.mark.parametrize(("bits", "share"), [given("int8", 0.52), given("int4", 0.27)])
def test_matrices_take_half_or_a_quarter_of_their_bytes_in_16_bits(tmp_path, bits, share):
    """With their scales; embeddings, norms and biases stay as they are."""
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=40, hidden_size=768, num_hidden_layers=1, num_attention_heads=2, intermediate_size=1024
    )
    BertModel(config).to(torch.bfloat16).save_pretrained(str(tmp_path / "model"))
    whole = load_file(tmp_path / "model/model.safetensors")
    matrices = [name for name, weight in whole.items() if weight.ndim == 2 and "embeddings" not in name]
    few = load_file(quantized_copy(tmp_path / "model", bits) / "model.safetensors")
    rest = sum(weight.nbytes for name, weight in whole.items() if name not in matrices)
    taken = sum(weight.nbytes for weight in few.values()) - rest
    assert 0 < taken < share * sum(whole[name].nbytes for name in matrices)


@pytest.mark.parametrize(("bits", "apart"), [given("int8", 0.05), given("int4", 0.25)])
def test_a_classifier_of_fewer_bits_answers_nearly_as_the_whole_one(judge, adapter, bits, apart):
    """Of random weights, which magnify steps; an adapter brings a head of its own."""
    for worn in (None, str(adapter)):
        whole = TextClassifier(model=str(judge), adapter=worn)
        small = TextClassifier(model=str(judge), adapter=worn, quantization=bits)
        found = load_classifiers(
            {"whole": whole, "small": small}, cpu(), 1, Ledger("classify", "x", Units("recording", "recording"))
        )
        labels = ["mild", "sharp", "none"] if worn else ["bad", "good"]
        assert found["small"].labels == found["whole"].labels == labels
        for one, other in zip(found["whole"](TEXTS), found["small"](TEXTS), strict=True):
            assert one == pytest.approx(other, abs=apart)
        assert identity_of(whole) != identity_of(small)


@pytest.mark.parametrize("kind", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize(("bits", "near"), [given("int8", 0.999), given("int4", 0.98)])
def test_vectors_of_fewer_bits_are_nearly_those_of_the_whole_model(bits, near, kind):
    """On a GPU of the copy that a processor made."""
    copy, ids = quantized_copy(BUNDLED, bits), ids_of("오늘 회의는 세 시에 시작합니다.")
    with claimed_device() if kind == "cuda" else nullcontext(cpu()) as device:
        whole, few = (vector_of(load_model("embed", folder, device).model, ids) for folder in (BUNDLED, copy))
    assert device.kind == kind
    assert not torch.equal(whole, few)
    assert nearness(whole, few) > near, "and so every number is finite"


@pytest.mark.parametrize("bits", [given("int8"), given("int4")])
def test_transformers_alone_loads_a_copy_in_another_process(bits):
    copy, text = quantized_copy(BUNDLED, bits), "내일 뵙겠습니다."
    code = f"""
import json, torch, transformers
ids = transformers.AutoTokenizer.from_pretrained({str(BUNDLED)!r})({text!r}, return_tensors="pt")
model = transformers.AutoModel.from_pretrained({str(copy)!r}, device_map="cpu").eval()
with torch.inference_mode():
    hidden = model(input_ids=ids["input_ids"], attention_mask=ids["attention_mask"]).last_hidden_state
print(json.dumps(hidden.float().mean(1)[0].tolist()))
"""
    finished = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    told = torch.tensor(json.loads(finished.stdout.splitlines()[-1]))
    assert nearness(told, vector_of(load_model("embed", copy, cpu()).model, ids_of(text))) > 0.9999


@pytest.mark.parametrize("bits", [given("int8"), given("int4")])
def test_a_copy_lacks_what_its_model_lacks(bits):
    """The bundled encoder has no pooler: weights drawn for it are none of the model's, nor of its copy's."""
    drawn = [load_model("embed", folder, cpu()).drawn for folder in (BUNDLED, quantized_copy(BUNDLED, bits))]
    assert drawn[0] == drawn[1] == {"pooler.dense.weight", "pooler.dense.bias"}


@pytest.mark.parametrize(("bits", "near"), [given("int8", 0.999), given("int4", 0.95)])
def test_matrices_that_a_kernel_cannot_take_keep_their_bits(tmp_path, bits, near):
    """Keys and values of 40 rows, which are no multiple of 32."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=50, hidden_size=128, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=1, head_dim=40,
        intermediate_size=256, initializer_range=0.1,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(str(tmp_path / "model"))
    ids = {"input_ids": torch.arange(1, 30)[None]}
    logits = []
    for folder in (tmp_path / "model", quantized_copy(tmp_path / "model", bits)):
        with torch.inference_mode():
            logits.append(load_model("write", folder, cpu()).model(**ids).logits.float())
    assert not torch.equal(*logits)
    assert nearness(*logits) > near


@pytest.mark.parametrize("bits", [given("int4")])
def test_no_compiled_code_is_fetched_from_the_hub(bits):
    code = f"""
import sys, types
from malgeul.models import quantization
kernels = types.ModuleType("kernels")
kernels.get_kernel = lambda *given, **more: sys.exit("code was asked of the hub")
sys.modules["kernels"] = kernels
quantization.scheme({bits!r})
assert "bitsandbytes.backends.cpu.ops" in sys.modules
assert sys.modules["kernels"] is kernels
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT / "scripts")
