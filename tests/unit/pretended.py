"""A GPU that is none: its tensors lie on the host, say that they do not, and refuse to meet those that say they do.

What a GPU's memory, kernels and clocks do is not to be seen with it; that every tensor is where it must be is. torch
lets a backend be made in Python once in a process, which then believes that it has an accelerator: use it in a process
of its own.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch.nn.functional import scaled_dot_product_attention
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

from malgeul.models.devices import Device

BACKEND = "pretended"
PLACE = f"{BACKEND}:0"
HOST = torch.device("cpu")

WAITS: list[str] = []
"""For what the host has waited until a GPU would have computed all that it was given (as far as it is seen here)."""

_MOVING = {"aten::_to_copy", "aten::to", "aten::copy_"}
_SEEN_BY_THE_HOST = {"aten::_local_scalar_dense", "aten::item", "aten::is_nonzero", "aten::nonzero"}

_setup_privateuseone_for_python_backend(BACKEND)
torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor(..., device=) makes it on the host and then has it moved


class PretendedDevice(Device):
    """To malgeul it is of the kind cuda, to torch the backend that is made here."""

    @property
    def place(self) -> str:
        return PLACE


DEVICE = PretendedDevice("cuda", "a GPU that is none", "GPU-none", 80_000_000_000)


class There(torch.Tensor):
    """A tensor of the pretended device: its numbers are in ``here``, a tensor of the host."""

    @staticmethod
    def __new__(cls, here, requires_grad=False):
        layout = {"strides": here.stride(), "storage_offset": here.storage_offset()}
        return torch.Tensor._make_wrapper_subclass(
            cls, here.size(), dtype=here.dtype, device=PLACE, requires_grad=requires_grad, **layout
        )

    def __init__(self, here, requires_grad=False):
        self.here = here

    def tolist(self):
        WAITS.append("tolist")
        return self.here.tolist()

    def untyped_storage(self):
        return self.here.untyped_storage()

    def storage(self):
        return self.here.storage()

    def __reduce_ex__(self, _):
        return There, (self.here,)

    def numpy(self, **_):
        raise TypeError("a tensor of a GPU is no array of numpy's: copy it to the host first")

    def __repr__(self, **_):
        return f"There({self.here!r})"

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return _compute(func, args, kwargs or {})


def _compute(func, args, kwargs):
    name = func._schema.name
    leaves = tree_leaves((args, kwargs))
    tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
    is_there = any(isinstance(tensor, There) for tensor in tensors)
    # A number is taken from anywhere, as are the indices of what is picked (aten::index, index_put_).
    if is_there and name not in _MOVING and not name.startswith("aten::index"):
        strangers = [tuple(each.shape) for each in tensors if each.dim() and not isinstance(each, There)]
        if strangers:
            raise RuntimeError(
                f"{name}: all tensors must be on {PLACE}, and those of shape {strangers} are on the host"
            )
    for leaf in leaves:
        if isinstance(leaf, torch.device):
            is_there = leaf.type == BACKEND
    if _host_waits(name, args, kwargs, is_there):
        WAITS.append(name)
    given, named = tree_map(_here, (args, kwargs))
    found = _SUBSTITUTES.get(name, func)(*given, **named)
    if func._schema.is_mutable:
        return kwargs.get("out", args[0]) if func._schema.returns else None
    with torch.inference_mode(False):  # or a view of a parameter could not be made of what comes out
        return tree_map(lambda leaf: There(leaf) if is_there and isinstance(leaf, torch.Tensor) else leaf, found)


def _host_waits(name, args, kwargs, goes_there):
    """Tell whether the host goes on only once a GPU has computed all before: it sees a number, or bytes cross over."""
    if name not in _MOVING:
        return name in _SEEN_BY_THE_HOST
    is_there = isinstance(args[1] if name == "aten::copy_" else args[0], There)
    goes_there = isinstance(args[0], There) if name == "aten::copy_" else goes_there
    return is_there != goes_there and not kwargs.get("non_blocking") and not any(arg is True for arg in args)


def _here(leaf):
    if isinstance(leaf, There):
        return leaf.here
    return HOST if isinstance(leaf, torch.device) else leaf


def _attend_packed(
    q, k, v, bounds, bounds_of_keys, longest, longest_of_keys, causal, scale, window, grouped=False, *none
):
    """Attend as torch.nn.attention.varlen does, whose kernels no processor has: (tokens, heads, dimension)."""
    assert not any(more is not None for more in none)
    assert {q.dtype, k.dtype, v.dtype} <= {torch.float16, torch.bfloat16}
    assert bounds.dtype == torch.int32
    assert window in ([-1, -1], [-1, 0])
    assert q.shape[-1] % 8 == 0
    ends = bounds.tolist()
    assert (ends[0], ends[-1], longest) == (0, len(q), max(end - start for start, end in pairwise(ends)))
    out = torch.empty_like(q)
    for start, end in pairwise(ends):
        heads_first = (each[start:end].transpose(0, 1) for each in (q, k, v))
        how = {"is_causal": causal or window[1] == 0, "scale": scale, "enable_gqa": grouped}
        out[start:end] = scaled_dot_product_attention(*heads_first, **how).transpose(0, 1)
    return out, torch.empty(0), torch.empty(0)


_SUBSTITUTES = {"torch_attn::_varlen_attn": _attend_packed}


def _empty(size, dtype=None, layout=None, device=None, pin_memory=None, memory_format=None):
    return There(torch.empty(size, dtype=dtype, device="cpu", memory_format=memory_format or torch.contiguous_format))


def _empty_strided(size, stride, dtype=None, layout=None, device=None, pin_memory=None):
    return There(torch.empty_strided(size, stride, dtype=dtype, device="cpu"))


torch.serialization.add_safe_globals([There])

_MADE_THERE = torch.library.Library("aten", "IMPL")
_MADE_THERE.impl("empty.memory_format", _empty, "PrivateUse1")
_MADE_THERE.impl("empty_strided", _empty_strided, "PrivateUse1")


def _of_its_size(factory):
    """Return what makes a tensor there at once; torch's own would make an empty one and have it grow here alone."""
    return lambda *sizes, dtype=None, layout=None, device=None, pin_memory=None: There(factory(*sizes, dtype=dtype))


for _name in ("arange", "arange.start", "arange.start_step", "eye", "eye.m"):
    _MADE_THERE.impl(_name, _of_its_size(getattr(torch, _name.partition(".")[0])), "PrivateUse1")
