"""Processes of a training agree on what went wrong, and put together what each has."""

import multiprocessing

import pytest
import torch
import torch.distributed as dist

from malgeul.training.ranks import OutOfMemory, Ranks


def take_part(rank, meeting, said):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    ranks = Ranks()

    def work():
        if rank == 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return "done"

    try:
        ranks.together(work)
        agreed = False
    except OutOfMemory:
        agreed = True
    weight = torch.nn.Parameter(torch.zeros(2))
    weight.grad = torch.tensor([1.0, rank])
    ranks.add_gradients([weight, torch.nn.Parameter(torch.zeros(1))])
    own = torch.tensor([[float(k)] for k in range(rank, 5, 2)])
    said.put(
        {
            "agreed": agreed,
            "again": ranks.together(lambda: "done"),
            "total": ranks.total(rank + 1),
            "gathered": ranks.gather(torch.tensor([rank])).tolist(),
            "uneven": ranks.gather_uneven(own, 5).flatten().tolist(),
            "single": ranks.gather_uneven(torch.tensor([[7.0]]) if rank == 0 else None, 1).tolist(),
            "gradient": weight.grad.tolist(),
        }
    )
    dist.destroy_process_group()


def test_out_of_memory_in_one_process_is_known_to_all_and_none_waits_for_ever(tmp_path):
    context = multiprocessing.get_context("spawn")
    said = context.Queue()
    children = [context.Process(target=take_part, args=(rank, tmp_path / "meeting", said)) for rank in range(2)]
    for child in children:
        child.start()
    found = [said.get(timeout=100) for _ in children]
    for child in children:
        child.join(20)
    assert (
        found
        == [
            {
                "agreed": True,
                "again": "done",
                "total": 3,
                "gathered": [0, 1],
                "uneven": [0, 1, 2, 3, 4],
                "single": [[7]],
                "gradient": [2, 1],
            }
        ]
        * 2
    )


def test_alone_a_process_needs_nobody():
    ranks = Ranks()
    assert ranks.together(lambda: 3) == ranks.total(3) == 3
    with pytest.raises(OutOfMemory):
        ranks.together(lambda: (_ for _ in ()).throw(torch.OutOfMemoryError("x")))
    with pytest.raises(RuntimeError, match="shapes"):
        ranks.together(lambda: torch.zeros(2) @ torch.zeros(3, 4))
    with pytest.raises(ValueError, match="no row to measure on"):
        ranks.gather_uneven(None, 0)
