"""Count what torch computes: operations on tensors, each of which is a kernel or more on a GPU."""

from __future__ import annotations

from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode


class Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]  # of torch
    """Counts operations within its context, backward ones too; views and empty tensors are none."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count and compute an operation."""
        schema = func._schema
        is_view = any(r.alias_info is not None and not r.alias_info.is_write for r in schema.returns)
        self.count += not (is_view or "empty" in schema.name)
        return func(*args, **(kwargs or {}))
