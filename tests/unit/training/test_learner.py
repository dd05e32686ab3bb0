"""A training learns, fits into memory without changing, and goes on after a kill as if nothing had been."""

import json
import shutil
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from malgeul.models.profiling import Profile
from malgeul.shards.files import remove
from malgeul.tasks import task_beside, task_of
from malgeul.training import learner as module
from malgeul.training.evaluation import Candidate, evaluate
from malgeul.training.learner import COMPLETE, learn, spread
from malgeul.training.masked import MentionTask
from malgeul.training.saving import save_model
from malgeul.training.settings import settings_of

COMMON = {"batch": 16, "learning_rate": 3e-3, "steps": 60, "log_every": 5, "measure_every": 20}

IN_BFLOAT16 = {
    "adapter": {"rank": 4, "targets": ["query", "value"]},
    "learning_rate": 0.02,
    "precision": "bfloat16",
}
"""An adapter on a base that is kept in it too."""


@pytest.fixture
def known(request):
    """Return the task of a kind over the toy data, with its settings."""

    def make(kind, base, **more):
        files = {"classifier": "labelled_file", "embedding": "pairs_file"}
        given = {"files": [request.getfixturevalue(files[kind])]} if kind in files else {}
        if not given:
            given = {"dataset": request.getfixturevalue({"coref": "mentions", "mlm": "sequences"}[kind])}
        names = {"files": [str(file) for file in given["files"]]} if kind in files else {}
        settings = settings_of({**COMMON, "kind": kind, "base": str(base), **names, **more})
        return task_of(settings, base, base, **given), settings

    return make


def train(known, journal, kind, base, told=lambda point: None, **more):
    task, settings = known(kind, base, **more)
    return learn(task, settings, str(base), journal, cuda=False, threads=1, told=told)


def weights(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def assert_equal(found, wanted):
    assert found.keys() == wanted.keys()
    assert [name for name in wanted if not torch.equal(found[name], wanted[name])] == []


def curve(course):
    """Return the points without their times."""
    return [{name: value for name, value in point.items() if name != "seconds"} for point in course.points]


MEASURES = {
    "coref": "first_piece_accuracy",
    "mlm": "piece_accuracy",
    "classifier": "macro_f1",
    "embedding": "recall_at_1",
}


@pytest.mark.parametrize("kind", MEASURES)
def test_every_kind_learns_and_is_measured_before_and_after(known, base, tmp_path, kind):
    task, settings = known(kind, base)
    model, course = learn(task, settings, str(base), tmp_path / "journal", cuda=False, threads=1)
    save_model(model, tmp_path / "model", "tiny", None)
    own = {"test": task}
    candidates = {"before": Candidate(own, base), "after": Candidate(own, tmp_path / "model")}
    sets = evaluate(candidates, seed=0, cuda=False)
    before, after = sets["test"]["figures"]["before"], sets["test"]["figures"]["after"]
    assert after["loss"] < 0.5 * before["loss"]
    assert after[MEASURES[kind]] > before[MEASURES[kind]] + 0.1
    losses = [point["loss"] for point in course.points if "loss" in point]
    assert len(losses) == 12
    assert losses[-1] < losses[0]
    assert [point["step"] for point in course.points if "validation_loss" in point] == [20, 40, 60]
    assert course.steps == course.planned_steps == 60
    assert course.rows_at_once == 16


def test_a_step_whose_gradients_overflow_in_float16_has_no_norm_in_the_curve(known, base, tmp_path, monkeypatch):
    """JSON has no number for it."""
    monkeypatch.setattr(module.Learner, "_clip_grad_norm", lambda *_: torch.tensor(float("inf")))
    told = []
    _, course = train(known, tmp_path, "coref", base, told.append, steps=2, log_every=1, measure_every=2)
    for points in (told, course.points):
        assert [point["grad_norm"] for point in points if "loss" in point] == [None, None]
        assert json.dumps(points, allow_nan=False)


class Killed(Exception):
    """Stands for SIGKILL: nothing is written after it."""


def killer(step):
    def told(point):
        if point["step"] >= step:
            raise Killed

    return told


@pytest.mark.parametrize("kind", ["coref", "mlm", "embedding"])
def test_a_killed_training_goes_on_to_the_same_weights_and_the_same_curve(known, base_with_dropout, tmp_path, kind):
    """Dropout, masks, the order of rows over epochs, optimizer, schedule, early stopping: all as without a kill."""
    more = {"patience": 2, "steps": 30, "measure_every": 10}
    model, course = train(known, tmp_path / "undisturbed", kind, base_with_dropout, **more)
    for step in (15, 25):
        with pytest.raises(Killed):
            train(known, tmp_path / "killed", kind, base_with_dropout, killer(step), **more)
    again, resumed = train(known, tmp_path / "killed", kind, base_with_dropout, **more)
    assert_equal(weights(again), weights(model))
    assert curve(resumed) == curve(course)
    assert resumed.best_step == course.best_step


@pytest.mark.parametrize("kind", ["classifier", "embedding"])
def test_a_killed_training_of_an_adapter_goes_on_exactly(known, base_with_dropout, tmp_path, kind):
    """On a base in bfloat16, of which no checkpoint holds a weight."""
    more = {**IN_BFLOAT16, "steps": 30, "measure_every": 10}
    model, course = train(known, tmp_path / "undisturbed", kind, base_with_dropout, **more)
    for step in (15, 25):
        with pytest.raises(Killed):
            train(known, tmp_path / "killed", kind, base_with_dropout, killer(step), **more)
    again, resumed = train(known, tmp_path / "killed", kind, base_with_dropout, **more)
    assert_equal(weights(again), weights(model))
    assert curve(resumed) == curve(course)


@pytest.fixture
def loader_of_a_gpu(monkeypatch):
    """Have rows read ahead by processes of their own, as where a GPU computes; pinned memory alone needs one."""
    usual = module.TrainingArguments
    ahead = {"dataloader_num_workers": 2, "dataloader_prefetch_factor": 4, "dataloader_persistent_workers": True}
    return lambda: monkeypatch.setattr(module, "TrainingArguments", lambda **given: usual(**{**given, **ahead}))


def test_rows_that_are_read_ahead_are_the_same_ones_and_after_a_kill_too(known, base, tmp_path, loader_of_a_gpu):
    """Over two epochs and a half; without dropout, whose numbers on a processor are of the loader's generator."""
    more = {"steps": 40, "measure_every": 20}
    model, course = train(known, tmp_path / "undisturbed", "coref", base, **more)
    loader_of_a_gpu()
    with pytest.raises(Killed):
        train(known, tmp_path / "killed", "coref", base, killer(30), **more)
    again, resumed = train(known, tmp_path / "killed", "coref", base, **more)
    assert_equal(weights(again), weights(model))
    assert curve(resumed) == curve(course)


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_a_gpu_learns_what_a_processor_learns(gpu, known, base, tmp_path, precision):
    _, plain = train(known, tmp_path / "cpu", "coref", base, steps=20)
    task, settings = known("coref", base, steps=20, precision=precision)
    model, course = learn(task, settings, str(base), tmp_path / "gpu", cuda=True, threads=3)
    assert next(model.parameters()).is_cuda
    assert (course.precision, course.peak_bytes > 0) == (precision, True)
    losses = [[point["loss"] for point in one.points if "loss" in point] for one in (plain, course)]
    assert losses[1] == pytest.approx(losses[0], rel=0.1), "float16 may leave out a step while it looks for its scale"


def test_a_checkpoint_that_a_kill_left_half_written_is_not_gone_on_from(known, base, tmp_path):
    model, _ = train(known, tmp_path / "undisturbed", "coref", base)
    with pytest.raises(Killed):
        train(known, tmp_path / "killed", "coref", base, killer(45))
    newest = tmp_path / "killed/checkpoint-40"
    assert (newest / COMPLETE).exists()
    (newest / COMPLETE).unlink()
    (newest / "model.safetensors").write_bytes(b"half")
    again, _ = train(known, tmp_path / "killed", "coref", base)
    assert_equal(weights(again), weights(model))


def test_a_kill_before_a_new_best_is_whole_leaves_the_former_best(known, base, tmp_path, monkeypatch):
    """Other checkpoints go when it is whole, not before: else there would be none to go on from."""
    model, course = train(known, tmp_path / "undisturbed", "coref", base)
    assert course.best_step == 60
    write, marked = module.write_json, []

    def killed(file, *given):
        marked.append(file)
        if len(marked) == 3:
            raise Killed
        write(file, *given)

    with monkeypatch.context() as patched:
        patched.setattr(module, "write_json", killed)
        with pytest.raises(Killed):
            train(known, tmp_path / "killed", "coref", base)
    steps = []
    again, _ = train(known, tmp_path / "killed", "coref", base, lambda point: steps.append(point["step"]))
    assert_equal(weights(again), weights(model))
    assert min(steps) > 40


@pytest.mark.parametrize("lost", ["newest/model.safetensors", "newest/trainer_state.json", "best"])
def test_what_was_lost_of_a_checkpoint_is_learnt_again(known, base, tmp_path, lost):
    """The best weights too: what ends with others must not be told to be them."""
    more = {"learning_rate": 0.05, "steps": 400, "measure_every": 5, "patience": 2}
    model, course = train(known, tmp_path / "undisturbed", "classifier", base, **more)
    names = {"best": f"checkpoint-{course.best_step}", "newest": f"checkpoint-{course.best_step + 5}"}
    with pytest.raises(Killed):
        train(known, tmp_path / "killed", "classifier", base, killer(course.steps), **more)
    assert {one.name for one in (tmp_path / "killed").glob("checkpoint-*")} == set(names.values())
    folder, _, file = lost.partition("/")
    remove(tmp_path / "killed" / names[folder] / file)
    again, found = train(known, tmp_path / "killed", "classifier", base, **more)
    assert_equal(weights(again), weights(model))
    assert curve(found) == curve(course)


def test_a_training_that_had_ended_is_taken_again_without_a_step(known, base, tmp_path, monkeypatch):
    model, course = train(known, tmp_path / "journal", "coref", base)
    monkeypatch.setattr(module.Learner, "training_step", lambda *_: pytest.fail("it trained again"))
    again, found = train(known, tmp_path / "journal", "coref", base)
    assert_equal(weights(again), weights(model))
    assert curve(found) == curve(course)
    assert (found.steps, found.best_step) == (course.steps, course.best_step)


@pytest.fixture
def small_memory(monkeypatch):
    """Let a forward pass of more rows than fit run out of memory, as a GPU would."""
    from transformers import BertModel

    seen = []
    forward = BertModel.forward

    def limit(rows):
        def limited(self, input_ids=None, **given):
            if self.training and len(input_ids) > rows:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
            if self.training:
                seen.append(len(input_ids))
            return forward(self, input_ids=input_ids, **given)

        monkeypatch.setattr(BertModel, "forward", limited)
        return seen

    return limit


@pytest.mark.parametrize("kind", ["coref", "embedding"])
def test_out_of_memory_halves_the_rows_at_a_time_and_leaves_the_batch_as_it_is(
    known, base, tmp_path, small_memory, caplog, kind
):
    wanted, whole = train(known, tmp_path / "whole", kind, base, steps=10, log_every=5, measure_every=10)
    seen = small_memory(10 if kind == "embedding" else 5)  # a pair is two texts
    found, halved = train(known, tmp_path / "halved", kind, base, steps=10, log_every=5, measure_every=10)
    assert halved.rows_at_once == 4
    assert max(seen) == (8 if kind == "embedding" else 4)
    assert "going on with 8 rows at a time, the step's batch stays the same" in caplog.text
    for name, value in weights(wanted).items():
        torch.testing.assert_close(weights(found)[name], value, rtol=1e-3, atol=1e-4)
    for one, other in zip(curve(halved), curve(whole), strict=True):
        assert one == pytest.approx(other, rel=1e-3)


def test_what_was_found_to_fit_is_known_after_a_kill(known, base, tmp_path, small_memory):
    small_memory(4)
    with pytest.raises(Killed):
        train(known, tmp_path / "journal", "coref", base, killer(15), steps=20, measure_every=10)
    seen = small_memory(4)
    seen.clear()
    _, course = train(known, tmp_path / "journal", "coref", base, steps=20, measure_every=10)
    assert course.rows_at_once == 4
    state = json.loads((tmp_path / "journal/checkpoint-20/trainer_state.json").read_text(encoding="utf-8"))
    assert state["stateful_callbacks"]["RowsAtOnce"]["args"] == {"rows": 4}
    assert seen[:4] == [4, 4, 4, 4]


def test_a_row_that_does_not_fit_alone_ends_the_training_with_what_to_do(known, base, tmp_path, small_memory):
    small_memory(0)
    with pytest.raises(torch.OutOfMemoryError, match="a single row does not fit into memory; lower the length"):
        train(known, tmp_path, "coref", base)


def test_a_training_that_no_longer_improves_ends_early_and_keeps_its_best_weights(known, base, tmp_path):
    """At this rate the loss on the validation rows rises sooner or later."""
    more = {"learning_rate": 0.05, "steps": 400, "measure_every": 5, "patience": 2}
    model, course = train(known, tmp_path, "classifier", base, **more)
    assert course.steps < course.planned_steps == 400
    measured = {point["step"]: point["validation_loss"] for point in course.points if "validation_loss" in point}
    assert course.best_step == min(measured, key=lambda step: (measured[step], step))
    assert course.steps == course.best_step + 2 * 5
    task, _ = known("classifier", base, **more)
    assert module.measure(task, model, task.rows("validation"))["loss"] == pytest.approx(measured[course.best_step])


@pytest.mark.parametrize("kind", ["coref", "classifier", "embedding"])
def test_an_adapter_is_trained_saved_and_loaded_by_peft(known, base, tmp_path, kind):
    from peft import PeftModel

    more = {
        "adapter": {"rank": 4, "targets": ["query", "value"]},
        "learning_rate": 0.02,
        "gradient_checkpointing": True,
    }
    task, settings = known(kind, base, **more)
    model, course = learn(task, settings, str(base), tmp_path / "journal", cuda=False, threads=1)
    assert course.learning_weights < 0.02 * course.weights, "and those of a new head"
    save_model(model, tmp_path / "model", "klue/tiny", "main")
    names = {file.name for file in (tmp_path / "model").iterdir()}
    assert names == {"adapter_config.json", "adapter_model.safetensors", "config.json"}
    config = json.loads((tmp_path / "model/adapter_config.json").read_text(encoding="utf-8"))
    assert (config["base_model_name_or_path"], config["r"]) == ("klue/tiny", 4)
    rows = task.rows("test")
    untrained = task.load(str(base)).eval()
    before = task.judge(untrained, rows)
    loaded = PeftModel.from_pretrained(untrained, str(tmp_path / "model")).eval()
    assert torch.allclose(task.judge(loaded, rows), task.judge(model.eval(), rows), atol=1e-5)
    if kind != "classifier":
        assert not torch.allclose(task.judge(loaded, rows), before, atol=1e-3)
    own = {"test": task}
    candidates = {"before": Candidate(own, base), "after": Candidate(own, base, tmp_path / "model")}
    sets = evaluate(candidates, seed=settings.seed, cuda=False)
    assert sets["test"]["figures"]["after"]["loss"] < sets["test"]["figures"]["before"]["loss"]


def test_an_adapter_learns_in_float32_on_a_base_that_stays_in_bfloat16(known, base, tmp_path):
    task, settings = known("classifier", base, **IN_BFLOAT16)
    model, course = learn(task, settings, str(base), tmp_path / "journal", cuda=False, threads=1)
    assert course.base_precision == "bfloat16"
    own = dict(model.named_parameters())
    learning = {name for name, weight in own.items() if weight.requires_grad}
    assert {own[name].dtype for name in learning} == {torch.float32}, "those of the new head too"
    assert any("classifier" in name for name in learning)
    assert {own[name].dtype for name in own.keys() - learning} == {torch.bfloat16}
    save_model(model, tmp_path / "model", "tiny", None)
    saved = load_file(tmp_path / "model/adapter_model.safetensors")
    assert {values.dtype for values in saved.values()} == {torch.float32}
    assert {name.rpartition(".lora_")[0] for name in saved} - {""}, "the adapter's, and no matrix of the base"
    losses = [point["loss"] for point in course.points if "loss" in point]
    assert losses[-1] < 0.5 * losses[0]

    trained = Candidate({"test": task}, base, tmp_path / "model")
    sets = evaluate({"after": trained}, seed=0, cuda=False, precision="bfloat16")
    figures = module.measure(task, model, task.rows("test"))
    assert sets["test"]["figures"]["after"]["loss"] == pytest.approx(figures["loss"], rel=1e-5), "as in training"


def test_a_base_in_bfloat16_costs_no_quality_beyond_noise(known, base, tmp_path):
    whole = {**IN_BFLOAT16, "adapter": {**IN_BFLOAT16["adapter"], "base_precision": "float32"}}
    courses = [train(known, tmp_path / str(k), "coref", base, **more)[1] for k, more in enumerate((whole, IN_BFLOAT16))]
    assert [course.base_precision for course in courses] == ["float32", "bfloat16"]
    losses = [[point["loss"] for point in course.points if "loss" in point] for course in courses]
    assert losses[1] == pytest.approx(losses[0], rel=0.03)


@pytest.mark.parametrize("more", [{"precision": "bfloat16"}, {"gradient_checkpointing": True}])
def test_half_precision_and_recomputed_activations_learn_the_same_within_noise(known, base, tmp_path, more):
    _, plain = train(known, tmp_path / "plain", "coref", base, steps=20)
    _, other = train(known, tmp_path / "other", "coref", base, steps=20, **more)
    assert other.precision == more.get("precision", "float32")
    losses = [[point["loss"] for point in course.points if "loss" in point] for course in (plain, other)]
    assert losses[1] == pytest.approx(losses[0], rel=0.03)
    if "precision" not in more:
        assert losses[1] == pytest.approx(losses[0], rel=1e-5)


def test_a_loss_that_is_no_number_ends_the_training_with_what_to_do(known, base, tmp_path, monkeypatch):
    monkeypatch.setattr(module.Learner, "training_step", lambda self, *_: torch.tensor(float("nan")))
    with pytest.raises(ValueError, match="the loss is nan at step 5: lower learning_rate"):
        train(known, tmp_path, "coref", base)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"batch": 512}, "256 rows for training are fewer than a batch of 512; lower batch"),
        ({"precision": "float16"}, "float16 needs a GPU"),
        (
            {"adapter": {"base_precision": "bfloat16"}},
            "bfloat16 needs precision bfloat16; what is computed in is float32",
        ),
        ({"adapter": {"targets": ["q_proj"]}}, r"adapter\.targets do not fit a bert: .*q_proj"),
    ],
)
def test_what_rows_or_machine_do_not_allow_is_said_before_the_first_step(known, base, tmp_path, more, message):
    with pytest.raises(ValueError, match=message):
        train(known, tmp_path, "coref", base, **more)


def test_measured_rows_are_spread_evenly():
    assert spread(range(10), 20) == range(10)
    assert spread(range(10), 4) == [0, 2, 5, 7]


class Counted(Profile):
    """Counts batches, and knows what ran in them."""

    def __init__(self):
        self.batches, self.inside = 0, False

    @contextmanager
    def batch(self):
        self.batches, self.inside = self.batches + 1, True
        yield
        self.inside = False


def test_steps_and_judged_rows_are_the_batches_of_a_profile(known, base, tmp_path, monkeypatch):
    profile = Counted()
    learn_part, judge = MentionTask.learn, MentionTask.judge

    def seen(task, *given):
        assert profile.inside
        return learn_part(task, *given)

    monkeypatch.setattr(MentionTask, "learn", seen)
    task, settings = known("coref", base, steps=20)
    learn(task, settings, str(base), tmp_path, cuda=False, threads=1, profile=profile)
    assert profile.batches == 20, "measures on the validation rows are none"

    def judged(task, *given):
        assert profile.inside
        return judge(task, *given)

    monkeypatch.setattr(MentionTask, "judge", judged)
    monkeypatch.setattr(module, "JUDGED_AT_ONCE", 20)
    profile.batches = 0
    evaluate({"before": Candidate({"test": task}, base)}, seed=0, cuda=False, profile=profile)
    assert profile.batches == 3, "of 48 rows"


def test_sets_without_rows_have_no_figures_and_say_why(known, base, tmp_path):
    task, _ = known("coref", base)
    task.rows = lambda split: []
    sets = evaluate({"before": Candidate({"test": task}, Path(base))}, seed=0, cuda=False)
    assert sets == {"test": {"rows": 0, "reason": "there are no test rows", "figures": {"before": None}}}


def test_scored_pairs_are_correlated_with_their_cosines(base, pairs_file, scored_file):
    settings = settings_of({"kind": "embedding", "base": str(base), "files": [str(pairs_file)]})
    task = task_of(settings, base, base, files=[pairs_file], scored=scored_file)
    figures = evaluate({"before": Candidate({"test": task}, base)}, seed=0, cuda=False)["test"]["figures"]["before"]
    assert figures["scored_pairs"] == 30
    assert -1 <= figures["spearman"] <= 1


def test_a_classifier_measured_beside_keeps_its_own_pieces_and_order_of_labels(known, base, labelled_file, tmp_path):
    task, settings = known("classifier", base)
    model, _ = learn(task, settings, str(base), tmp_path / "journal", cuda=False, threads=1)
    other = tmp_path / "other"
    labels = model.config.id2label
    with torch.no_grad():  # the same classifier, whose labels and pieces stand in another order
        for weights_of in (model.classifier.weight, model.classifier.bias):
            weights_of.copy_(weights_of.flip(0))
        embeddings = model.get_input_embeddings().weight
        embeddings.copy_(embeddings[order_of_pieces()])
    model.config.id2label = dict(enumerate(reversed(labels.values())))
    model.config.label2id = {label: number for number, label in model.config.id2label.items()}
    save_model(model, other, "tiny", None)
    save_tokenizer(base, other)
    learned, _ = learn(task, settings, str(base), tmp_path / "journal", cuda=False, threads=1)
    save_model(learned, tmp_path / "model", "tiny", None)

    theirs = task_beside(settings, other, other, files=[labelled_file])
    candidates = {"after": Candidate({"test": task}, tmp_path / "model"), "other": Candidate({"test": theirs}, other)}
    figures = evaluate(candidates, seed=0, cuda=False)["test"]["figures"]
    assert figures["after"]["macro_f1"] > 0.5
    for name in ("accuracy", "macro_f1", "f1"):
        assert figures["other"][name] == pytest.approx(figures["after"][name])


def order_of_pieces():
    """Pieces change places with their neighbours, special ones stay."""
    order = torch.arange(8000)
    order[10::2], order[11::2] = order[11::2].clone(), order[10::2].clone()
    return order


def save_tokenizer(base, folder):
    """Write the tokenizer of a base whose pieces are in that order."""
    tokenizer = json.loads((base / "tokenizer.json").read_text(encoding="utf-8"))
    order = order_of_pieces().tolist()
    tokenizer["model"]["vocab"] = {piece: order[number] for piece, number in tokenizer["model"]["vocab"].items()}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    (folder / "tokenizer_config.json").write_bytes((base / "tokenizer_config.json").read_bytes())


def test_a_model_without_the_labels_is_refused_beside(known, base, labelled_file):
    _, settings = known("classifier", base)
    with pytest.raises(ValueError, match=r"knows the labels \(none\), the rows"):
        task_beside(settings, base, base, files=[labelled_file])


def test_a_model_for_search_measured_beside_has_its_own_query_prompt(known, base, pairs_file, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(base, other)
    prompts = {"prompts": {"query": "질문: "}, "default_prompt_name": None}
    (other / "config_sentence_transformers.json").write_text(json.dumps(prompts), encoding="utf-8")
    _, settings = known("embedding", base)
    own, theirs = (make(settings, other, other, files=[pairs_file]) for make in (task_of, task_beside))
    first, second = (task.rows("test")[0]["query_ids"] for task in (own, theirs))
    assert first[1:] == second[-len(first) + 1 :]
    assert len(second) > len(first)
