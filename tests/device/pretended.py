"""A pretended GPU: its tensors hold their numbers on the CPU, and refuse what a GPU refuses.

Programs whose flow depends on values run to their end on it. Where tensors of two devices meet, an error is raised;
launches, copies between the devices and waits for the device are counted by place. A real GPU launches as many kernels
or more: an operation counts once. The device is torch's PrivateUse1, by a name that a process can give it once.
"""

from __future__ import annotations

import sys
import weakref
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

NAME = "pretended"

_WAITS = frozenset({"_local_scalar_dense", "nonzero", "masked_select", "equal", "_unique2", "unique_dim", "bincount"})
"""Operations whose result, or its shape, is known to the host only after the device has computed it."""

_NO_KERNEL = ("empty", "new_empty", "_unsafe_view", "is_pinned", "set_")
"""First letters of operations without a kernel, beside views."""

_PACKAGE = "/ssi_pipeline/"


class TwoDevicesError(RuntimeError):
    """Tensors of two devices met in one operation."""


@dataclass
class Counts:
    """Events by place ("file:line", relative to the package) and operation."""

    launches: Counter[tuple[str, str]] = field(default_factory=Counter)
    waits: Counter[tuple[str, str]] = field(default_factory=Counter)
    uploads: Counter[tuple[str, str]] = field(default_factory=Counter)
    downloads: Counter[tuple[str, str]] = field(default_factory=Counter)

    def totals(self) -> dict[str, int]:
        """Return the number of events of each kind."""
        return {kind: events.total() for kind, events in vars(self).items()}

    def report(self, most: int = 25) -> str:
        """Return the counts as text, the most frequent places first."""
        lines = []
        for kind, events in vars(self).items():
            by_file: Counter[str] = Counter()
            for (place, _), count in events.items():
                by_file[place.partition(":")[0]] += count
            lines.append(f"{kind} {events.total()}: " + ", ".join(f"{f} {n}" for f, n in by_file.most_common(12)))
            lines += [f"  {n:7d} {place} {operation}" for (place, operation), n in events.most_common(most)]
        return "\n".join(lines)


class Memory:
    """Bytes of the tensors alive on the device, and the most there were. A GPU needs workspace for kernels besides."""

    def __init__(self) -> None:
        self.now = self.peak = 0
        self._users: Counter[int] = Counter()

    def hold(self, tensor: torch.Tensor, numbers: torch.Tensor) -> None:
        """Count the storage of a tensor until the last tensor that uses it is gone."""
        storage = numbers.untyped_storage()
        place, size = storage.data_ptr(), storage.nbytes()
        if not self._users[place]:
            self.now += size
            self.peak = max(self.peak, self.now)
        self._users[place] += 1
        weakref.finalize(tensor, self._release, place, size).atexit = False

    def _release(self, place: int, size: int) -> None:
        self._users[place] -= 1
        if not self._users[place]:
            self.now -= size


class _Guard(torch._C._acc.DeviceGuard):
    def type_(self) -> Any:
        return torch._C._autograd.DeviceType.PrivateUse1


class _DeviceModule:
    """What torch asks of the module of a device."""

    is_available = staticmethod(lambda: True)
    is_initialized = staticmethod(lambda: True)
    device_count = staticmethod(lambda: 1)
    current_device = staticmethod(lambda: 0)
    get_amp_supported_dtype = staticmethod(lambda: [torch.bfloat16])
    _is_in_bad_fork = staticmethod(lambda: False)
    manual_seed_all = staticmethod(lambda _: None)
    synchronize = staticmethod(lambda *_: None)


def _register() -> tuple[Any, ...]:
    """Name the device, and have its autocast lower convolutions as that of CUDA does; return what has to be kept."""
    from torch.utils import backend_registration

    backend_registration._setup_privateuseone_for_python_backend(NAME, _DeviceModule(), device_guard=_Guard())
    everything, operations = (torch.library.Library(of, "IMPL", "AutocastPrivateUse1") for of in ("_", "aten"))
    everything.fallback(torch.library.fallthrough_kernel)
    for name in ("conv2d", "conv3d"):
        operations.impl(name, _lowered(getattr(torch.ops.aten, name)))
    return everything, operations


def _lowered(operation: Callable[..., Any]) -> Callable[..., Any]:
    def run(*args: Any, **kwargs: Any) -> Any:
        low = torch.get_autocast_dtype(NAME)
        lower = lambda t: t.to(low) if t.dtype == torch.float32 else t  # noqa: E731
        given = tree_map_only(torch.Tensor, lower, (args, kwargs))
        with torch._C._ExcludeDispatchKeyGuard(torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastPrivateUse1)):
            return operation(*given[0], **given[1])

    return run


_KEPT = _register()  # at import: autograd knows the devices that there are before its first use

DEVICE = torch.device(NAME, 0)


class OnDevice(torch.Tensor):
    """A tensor of the device; ``numbers``: its values, on the CPU."""

    numbers: torch.Tensor
    __slots__ = ["numbers"]
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, numbers: torch.Tensor) -> OnDevice:
        made: OnDevice = torch.Tensor._make_wrapper_subclass(
            cls,
            numbers.size(),
            strides=numbers.stride(),
            storage_offset=numbers.storage_offset(),
            dtype=numbers.dtype,
            device=DEVICE,
        )
        made.numbers = numbers
        if PretendedGpu.active is not None:
            PretendedGpu.active.memory.hold(made, numbers)
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if PretendedGpu.active is None:
            raise RuntimeError("a tensor of the pretended GPU was used without it")
        return PretendedGpu.active.run(func, args, kwargs or {})

    def numpy(self, *, force: bool = False) -> Any:
        raise TypeError(f"can't convert {NAME}:0 device type tensor to numpy. Use Tensor.cpu() first")

    def __array__(self, *_: Any, **__: Any) -> Any:
        return self.numpy()


class PretendedGpu(TorchDispatchMode):
    """Makes ``NAME`` a device within its context; ``counts``: what happened there, ``memory``: what it took."""

    active: PretendedGpu | None = None

    def __init__(self) -> None:
        super().__init__()
        self.counts = Counts()
        self.memory = Memory()

    def __enter__(self) -> PretendedGpu:
        PretendedGpu.active = self
        super().__enter__()
        return self

    def __exit__(self, *args: Any) -> None:
        super().__exit__(*args)
        PretendedGpu.active = None

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.run(func, args, kwargs or {})

    def run(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Compute an operation on the CPU; its result is on the device on which a GPU would have it."""
        # lazy views of complex numbers would not be resolved beneath: a kernel, as on a GPU when they are read
        func = {"_conj": torch.ops.aten._conj_physical.default, "_neg_view": torch.ops.aten.neg.default}.get(
            func._schema.name.split("::")[1], func
        )
        name, tensors = func._schema.name.split("::")[1], _tensors((args, kwargs))
        wanted = kwargs.get("device")
        if wanted is not None:
            kwargs = {**kwargs, "device": torch.device("cpu")}
        here = any(isinstance(t, OnDevice) for t in tensors)
        there = here if wanted is None else torch.device(wanted).type == NAME
        given, named = tree_map_only(OnDevice, lambda t: t.numbers, (args, kwargs))
        if name == "copy_":
            here, there = (isinstance(t, OnDevice) for t in (args[1], args[0]))
        if name in ("copy_", "_to_copy") and here != there:
            (self.counts.uploads if there else self.counts.downloads)[_place(), name] += 1
        elif here or there:
            self._check(name, args, kwargs, tensors)
            self._count(func, name, args)
        result = func(*given, **named)
        return _placed(func, args, kwargs, result) if there else result

    def _check(self, name: str, args: Any, kwargs: Any, tensors: list[torch.Tensor]) -> None:
        """Refuse other tensors of the CPU than single numbers and indices, which are copied to the device."""
        if any(isinstance(leaf, torch.Generator) for leaf in tree_leaves((args, kwargs))):
            raise TwoDevicesError(f"{_place()} {name}: a generator of the CPU for a tensor of the device")
        strangers = [t for t in tensors if not isinstance(t, OnDevice) and t.ndim > 0]
        if strangers and name.startswith(("index", "_index")) and isinstance(args[0], OnDevice):
            indices = _tensors(args[1])
            strangers = [t for t in strangers if not any(t is index for index in indices)]
            self.counts.uploads[_place(), name] += 1
        if strangers:
            raise TwoDevicesError(f"{_place()} {name}: tensors of the CPU of {[tuple(t.shape) for t in strangers]}")

    def _count(self, func: Any, name: str, args: Any) -> None:
        is_view = any(r.alias_info is not None and not r.alias_info.is_write for r in func._schema.returns)
        if is_view or name.startswith(_NO_KERNEL):
            return
        by_mask = name.startswith("index") and any(i.dtype == torch.bool for i in _tensors(args[1]))
        if name in _WAITS or by_mask:
            self.counts.waits[_place(), name] += 1
        if name != "_local_scalar_dense":
            self.counts.launches[_place(), name] += 1


def _tensors(tree: Any) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


def _placed(func: Any, args: Any, kwargs: Any, result: Any) -> Any:
    """Return the result on the device: what was written to where it was given, all else as new tensors."""
    schema = func._schema
    written = [
        kwargs.get(a.name) if a.kwarg_only else args[i] if i < len(args) else kwargs.get(a.name)
        for i, a in enumerate(schema.arguments)
        if a.alias_info is not None and a.alias_info.is_write
    ]
    if written and schema.returns and all(r.alias_info is not None and r.alias_info.is_write for r in schema.returns):
        return written[0] if len(schema.returns) == 1 else tuple(written)
    return tree_map_only(torch.Tensor, lambda t: t if isinstance(t, OnDevice) else OnDevice(t), result)


def _place() -> str:
    """Return the innermost line of the package that led here; "backward" for what autograd started."""
    frame = sys._getframe(1)
    while frame is not None:
        _, found, rest = frame.f_code.co_filename.rpartition(_PACKAGE)
        if found:
            return f"{rest}:{frame.f_lineno}"
        frame = frame.f_back  # type: ignore[assignment]
    return "backward"
