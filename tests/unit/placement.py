"""On a GPU all that meets is on it, and comes out as on a processor; run by test_placement, on a GPU that is none."""

import multiprocessing
from contextlib import nullcontext
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import embed_chunks
import transcribe_audio
from malgeul import ROOT
from malgeul.embedding.encoder import Encoder
from malgeul.models.classifier import load_classifiers
from malgeul.models.devices import cpu
from malgeul.models.settings import TextClassifier
from malgeul.shards.ledger import Ledger, Units
from malgeul.speech.whisper import Whisper
from malgeul.training import evaluation, learner
from malgeul.training.evaluation import Candidate, evaluate
from malgeul.training.learner import learn
from malgeul.training.saving import save_model
from malgeul.training.tasks import parts
from unit.embedding import test_embed_chunks as embedding
from unit.embedding.models import BUNDLED, make_model
from unit.models import test_classifier as classifying
from unit.pretended import DEVICE, PLACE, WAITS
from unit.speech import test_transcribe_audio as transcription
from unit.spoken import spoken
from unit.training import conftest
from unit.training import test_learner as training

HALVES = ["float16", "bfloat16"]
PRECISIONS = ["float32", *HALVES]

base_with_dropout, mentions, sequences = conftest.base_with_dropout, conftest.mentions, conftest.sequences
labelled_file, pairs_file, known = conftest.labelled_file, conftest.pairs_file, training.known
base, adapters, writer, trained = classifying.base, classifying.adapters, classifying.writer, classifying.trained


@pytest.fixture
def gpu(monkeypatch):
    """The pretended device, with what CUDA tells of its memory."""
    for script in (embed_chunks, transcribe_audio):
        monkeypatch.setattr(script, "claimed_device", lambda: nullcontext(DEVICE))
    for name in ("memory_allocated", "memory_reserved", "max_memory_allocated"):
        monkeypatch.setattr(torch.cuda, name, lambda: 1 << 30)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: None)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (70 << 30, 80 << 30))
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda: SimpleNamespace(is_integrated=0))
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: self)
    return DEVICE


def test_what_is_on_the_host_meets_nothing_of_a_gpu(gpu):
    here, there = torch.ones(3), torch.ones(3, device=PLACE)
    with pytest.raises(RuntimeError, match="must be on pretended:0"):
        here + there
    with pytest.raises(TypeError, match="copy it to the host"):
        there.numpy()
    assert (there + here.to(PLACE) + 1).tolist() == [3, 3, 3]
    there[torch.tensor([1])] = 5
    assert there.cpu().numpy().tolist() == [1, 5, 1]


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("packed", [True, False])
def test_vectors(gpu, tmp_path, packed, precision):
    folder = BUNDLED if packed else make_model(tmp_path / "model", "mpnet", "mean_tokens")
    encoder = Encoder(folder, gpu, 1, precision)
    assert (encoder.packs, encoder._model.device, encoder._model.dtype) == (
        packed,
        torch.device(PLACE),
        getattr(torch, precision),
    )
    expected = Encoder(folder, cpu(), 1, "float32").encode_texts(embedding.TEXTS)
    assert (expected * encoder.encode_texts(embedding.TEXTS)).sum(1).min() > (0.9999 if packed else 0.99)


@pytest.mark.parametrize("pooling", ["cls_token", "lasttoken", "max_tokens"])
def test_poolings(gpu, tmp_path, pooling):
    folder = make_model(tmp_path / "model", "roberta", pooling)
    found, expected = (Encoder(folder, on, 1, "float32").encode_texts(embedding.TEXTS) for on in (gpu, cpu()))
    assert found == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_transcripts_with_times_of_words(gpu, precision):
    folder, sounds = ROOT / "resources/models/whisper-ko-demo", spoken("seen")[1][:6]
    heard = []
    for on in (cpu(), gpu):
        whisper = Whisper(folder, on, "ko", 200, 1, precision=precision, word_times=True)
        assert whisper._model.device == torch.device(on.place)
        heard.append(whisper.transcribe([whisper.hear(sound) for sound in sounds]))
    for expected, found in zip(*heard, strict=True):
        assert [segment.text for segment in found] == [segment.text for segment in expected]
        begins = [[word.start for segment in one for word in segment.words] for one in (expected, found)]
        assert begins[1] == pytest.approx(begins[0], abs=0.1)


def test_windows_that_are_in_doubt_are_decoded_again(gpu, monkeypatch):
    """Until none is: one window leaves the batch after the first temperature, the other after the second."""
    calls = iter(range(100))
    monkeypatch.setattr("malgeul.speech.whisper.doubts", lambda *_: ["unlikely"] if next(calls) < 3 else [])
    whisper = Whisper(ROOT / "resources/models/whisper-ko-demo", gpu, "ko", 200, 1, (0.2, 0.8))
    heard = whisper.transcribe([whisper.hear(sound) for sound in spoken("seen")[1][:2]])
    assert [{segment.temperature for segment in segments} for segments in heard] == [{0.8}, {0.2}]


def test_spectra_are_made_on_the_device_and_stay_there(gpu):
    whisper = Whisper(ROOT / "resources/models/whisper-ko-demo", gpu, "ko", 200, 1, ())
    windows = [whisper.hear(sound) for sound in spoken("seen")[1][:2]]
    before = len(WAITS)
    features = whisper._features(windows)
    assert features.device.type == whisper._model.device.type != "cpu"
    assert len(WAITS) == before


def test_a_token_costs_one_look_at_the_device(gpu):
    """A GPU stands still while the host looks at what it made and thinks of the next thing to do."""
    whisper = Whisper(ROOT / "resources/models/whisper-ko-demo", gpu, "ko", 200, 1, ())
    windows = [whisper.hear(sound) for sound in spoken("seen")[1][:1]]
    steps = []
    whisper._model.model.decoder.layer_norm.register_forward_hook(lambda *_: steps.append(len(WAITS)))
    whisper.transcribe(windows)
    assert len(steps) > 10
    assert {after - before for before, after in pairwise(steps[1:])} == {1}


def test_a_job_that_embeds(gpu, tmp_path):
    vectors = []
    for place, precision in ((tmp_path / "gpu", "auto"), (tmp_path / "fastest", "fastest")):
        embedding.write_chunks(place, embedding.TEXTS)
        _, found, ledger = embedding.run(place, precision=precision)
        assert ledger.device["kind"] == "cuda"
        vectors.append(found)
    assert (np.asarray(vectors[0]) * np.asarray(vectors[1])).sum(1).min() > 0.9999


def test_a_job_that_transcribes(gpu, tmp_path):
    folder = tmp_path / "recordings/calls-0000"
    folder.mkdir(parents=True)
    transcription.write_manifest(tmp_path, [transcription.row(folder, "a" * 16, [transcription.SOUNDS[0]])])
    found, ledger = transcription.run(tmp_path, word_times=True)
    assert ledger.device["kind"] == "cuda"
    assert found["a" * 16]["segments"]


@pytest.mark.parametrize(("precision", "likeness"), [("float32", 1e-4), ("bfloat16", 0.02)])
def test_classes(gpu, monkeypatch, base, adapters, writer, trained, precision, likeness):
    """On a GPU that has bfloat16 they are computed in it, with adapters and heads that were loaded in float32."""
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: precision == "bfloat16")
    settings = {name: classifying.with_adapter(base, adapter) for name, adapter in adapters.items()}
    settings["asked"] = classifying.asking(writer)
    found, expected = (
        {name: classifier(classifying.TEXTS) for name, classifier in load(settings, on).items()} for on in (gpu, cpu())
    )
    for name, of_texts in expected.items():
        for one, other in zip(found[name], of_texts, strict=True):
            assert one == pytest.approx(other, abs=likeness)


def test_parts_of_a_batch_cost_one_look_at_the_device(gpu):
    mask = torch.ones(12, 5, dtype=torch.long).tril().to(PLACE)
    before = len(WAITS)
    found = [part["attention_mask"].shape for part in parts({"attention_mask": mask}, 4)]
    assert len(WAITS) - before == 1
    assert found == [(4, 5), (4, 5), (4, 4)]


class TorchWithAnother:
    """torch, to which the device of the kind cuda is the pretended one."""

    def __getattr__(self, name):
        return getattr(torch, name)

    def device(self, kind):
        return torch.device(PLACE if kind == "cuda" else kind)


@pytest.fixture
def trains_there(gpu, monkeypatch):
    """The Trainer on the pretended device, with processes that read ahead and start as they do since Python 3.14."""
    from accelerate.state import AcceleratorState, GradientState, PartialState

    monkeypatch.setenv("ACCELERATE_TORCH_DEVICE", PLACE)
    states = (PartialState, AcceleratorState, GradientState)
    for state in states:
        state._reset_state()
    for module in (learner, evaluation):
        monkeypatch.setattr(module, "torch", TorchWithAnother())
    before = multiprocessing.get_start_method()
    multiprocessing.set_start_method("forkserver", force=True)
    yield
    multiprocessing.set_start_method(before, force=True)
    for state in states:
        state._reset_state()


ADAPTER = {"rank": 4, "targets": ["query", "value"]}


@pytest.mark.parametrize(
    ("kind", "adapter"), [("coref", None), ("mlm", ADAPTER), ("classifier", ADAPTER), ("embedding", None)]
)
def test_a_training_goes_on_there_and_is_measured(trains_there, known, base_with_dropout, tmp_path, kind, adapter):
    more = {"precision": "float32", "steps": 4, "log_every": 2, "measure_every": 2, "adapter": adapter}
    task, settings = known(kind, base_with_dropout, **more)

    def train(name, told=lambda point: None):
        return learn(task, settings, str(base_with_dropout), tmp_path / name, cuda=True, threads=3, told=told)[0]

    with pytest.raises(training.Killed):
        train("killed", training.killer(4))
    model, undisturbed = train("killed"), train("undisturbed")
    for weight, other in zip(model.parameters(), undisturbed.parameters(), strict=True):
        assert weight.device == torch.device(PLACE)
        assert torch.equal(weight.cpu(), other.cpu())
    save_model(model, tmp_path / "model", "tiny", None)
    own = {"test": task}
    trained = Candidate(own, base_with_dropout, tmp_path / "model") if adapter else Candidate(own, tmp_path / "model")
    found, expected = (
        evaluate({"after": trained}, seed=0, cuda=cuda)["test"]["figures"]["after"] for cuda in (True, False)
    )
    assert found["loss"] == pytest.approx(expected["loss"], abs=1e-4)


def load(settings: dict[str, TextClassifier], device):
    return load_classifiers(settings, device, 1, Ledger("classify", "x", Units("recording", "recording")))
