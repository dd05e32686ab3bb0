"""A training that was killed ends with the weights and curves of one that was not."""

import pytest
import torch
from making.training import CHECKPOINT, CURVES, Course, key_of, learn, read_curves
from torch import nn

COURSE = Course(steps=60, learning_rate=0.05, warmup=5, save_every=20, measure_every=30)


class Killed(Exception):
    """Stands for SIGKILL."""


def run(folder, kill_at=None, key="data"):
    torch.manual_seed(0)
    module = nn.Linear(3, 1)

    def losses(step):
        if step == kill_at:
            raise Killed
        x = torch.randn(8, 3, generator=torch.Generator().manual_seed(step))
        return {"loss": ((module(x) - x.sum(1, keepdim=True)) ** 2).mean()}

    learn(module, losses, COURSE, folder, lambda: {"error": float((module.weight.detach() - 1).abs().max())}, key)
    return module


def without_seconds(folder):
    return [{key: value for key, value in point.items() if key != "seconds"} for point in read_curves(folder)]


def test_it_learns_and_its_curves_tell(tmp_path):
    module = run(tmp_path)
    assert torch.allclose(module.weight, torch.ones(1, 3), atol=0.2)
    points = read_curves(tmp_path)
    assert [point["step"] for point in points if "loss" in point] == [20, 40, 60]
    assert [point["step"] for point in points if "error" in point] == [30, 60]
    assert points[-1]["loss"] < points[0]["loss"]


@pytest.mark.parametrize("kill_at", [1, 20, 33, 59])
def test_a_killed_training_goes_on_to_the_same_end(tmp_path, kill_at):
    undisturbed = run(tmp_path / "undisturbed")
    with pytest.raises(Killed):
        run(tmp_path / "killed", kill_at)
    resumed = run(tmp_path / "killed")
    assert torch.equal(resumed.weight, undisturbed.weight)
    assert without_seconds(tmp_path / "killed") == without_seconds(tmp_path / "undisturbed")


def test_a_finished_training_does_no_step_again(tmp_path):
    run(tmp_path)
    run(tmp_path, kill_at=0)


def test_a_half_written_line_of_the_curves_is_dropped(tmp_path):
    with pytest.raises(Killed):
        run(tmp_path, 45)
    with (tmp_path / CURVES).open("a") as curves:
        curves.write('{"step": 4')
    run(tmp_path)
    assert [point["step"] for point in read_curves(tmp_path)] == [20, 30, 40, 60]


def test_the_rate_rises_and_falls():
    rates = [COURSE.rate_at(step) for step in range(COURSE.steps)]
    assert max(rates) == rates[COURSE.warmup - 1] == pytest.approx(0.05)
    assert rates[: COURSE.warmup] == sorted(rates[: COURSE.warmup])
    assert rates[COURSE.warmup :] == sorted(rates[COURSE.warmup :], reverse=True)
    assert rates[0] > 0
    assert rates[-1] < 0.002


def test_a_checkpoint_holds_nothing_that_could_run_code(tmp_path):
    run(tmp_path)
    assert torch.load(tmp_path / CHECKPOINT, weights_only=True)["step"] == COURSE.steps


def test_a_checkpoint_of_other_data_or_settings_is_not_gone_on_from(tmp_path):
    with pytest.raises(Killed):
        run(tmp_path / "changed", 45)
    changed = run(tmp_path / "changed", key="other data")
    assert torch.equal(changed.weight, run(tmp_path / "undisturbed", key="other data").weight)
    assert without_seconds(tmp_path / "changed") == without_seconds(tmp_path / "undisturbed")
    assert len({key_of(*parts) for parts in ([b"a", 1], [b"a1"], [b"a", "1"], [], [COURSE])}) == 5
