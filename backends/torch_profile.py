"""Profile of a module of PyTorch, by torch.profiler. Imports torch, inside functions.

A kernel is an operation that a module calls itself, such as aten::linear, with all that the operation calls. The file that
torch exports has the module and the operation of each node, which map one to the other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from ..errors import Unsupported
from ..profiles import Kernel, Links
from .profiling import Ran, Recorded, SessionProfiler
from .protocol import Session

CALL, MODULE = "onnxbench.call", "onnxbench.module:"
TORCH_LAYERS = re.compile(r"conv|linear|matmul|\b(add|b|badd)?mm\b|attention|lstm|gru|rnn|transformer_encoder")
TORCH_MOVES = re.compile(
    r"^aten::(view|reshape|_?unsafe_view|flatten|transpose|t|permute|expand\w*|contiguous|clone|copy_|to|_to_copy|cat|concat|stack"
    r"|slice|select|narrow|split\w*|chunk|unbind|unsqueeze|squeeze|unflatten|empty\w*|zeros\w*|ones\w*|full\w*|arange|pad\w*"
    r"|index_select|gather|embedding|detach|alias|lift_fresh|item|_local_scalar_dense|is_nonzero|dropout|broadcast\w*)$"
)


class Operation(NamedTuple):
    """Operation of PyTorch in a call: the `number`-th one of its name that the module `scope` calls, and its time."""

    scope: str
    name: str
    number: int
    ns: float
    begin_ns: float | None


class TorchProfiler(SessionProfiler):
    """A session of a `module` whose forward methods mark their time, while a turn lasts.

    Hooks of PyTorch are not used, because some modules compute in another way when they have hooks. `type`: that of the
    arithmetic. `on_device`: the kernels run on a GPU, whose times count.
    """

    most_calls = 5  # reading the events of a call takes longer than the call

    def __init__(self, session: Session, module: Any, type: str, on_device: bool) -> None:
        import torch

        if not isinstance(module, torch.nn.Module):
            raise Unsupported("a compiled package has no modules to which its kernels belong")
        self.session, self._torch, self._module, self._type, self._on_device = session, torch, module, type, on_device
        self._places: dict[tuple[str, str, int], int] = {}
        self._pairs: list[tuple[Kernel, Links]] = []
        self._calls: list[list[Ran]] = []
        self._open: list[Any] = []

    @contextmanager
    def turn(self) -> Iterator[None]:
        kinds = self._torch.profiler.ProfilerActivity
        activities = [kinds.CPU, *([kinds.CUDA] if self._on_device else [])]
        with self._marked(), self._torch.profiler.profile(activities=activities) as profiled:
            self._begin()
            yield
            self._end()
        # the mark of a call that was opened and never made has no operations
        calls = operations(list(profiled.events()), self._on_device)[:-1]
        self._calls += [[Ran(self._place(each), each.ns, each.begin_ns) for each in call] for call in calls]

    def collect(self) -> None:
        self._end()
        self._begin()

    def _begin(self) -> None:
        mark = self._torch.profiler.record_function(CALL)
        mark.__enter__()
        self._open.append(mark)

    def _end(self) -> None:
        self._open.pop().__exit__(None, None, None)

    @contextmanager
    def _marked(self) -> Iterator[None]:
        """Mark the time of each module's forward method inside."""
        own = {path: module.__dict__.get("forward") for path, module in self._module.named_modules()}
        try:
            for path, module in self._module.named_modules():
                module.__dict__["forward"] = self._marking(path, module.forward)
            yield
        finally:
            for path, module in self._module.named_modules():
                module.__dict__.pop("forward", None)
                if own[path] is not None:
                    module.__dict__["forward"] = own[path]

    def _marking(self, path: str, forward: Callable[..., Any]) -> Callable[..., Any]:
        record = self._torch.profiler.record_function

        def marked(*args: Any, **kwargs: Any) -> Any:
            with record(MODULE + path):
                return forward(*args, **kwargs)

        return marked

    def _place(self, of: Operation) -> int:
        """Place of the kernel that is the operation `of`."""
        scope, operation, number, *_ = of
        key = (scope, operation, number)
        if key not in self._places:
            self._places[key] = len(self._pairs)
            moves = bool(TORCH_MOVES.match(operation))
            kernel = Kernel(
                node=f"{scope or 'model'}.{operation.removeprefix('aten::')}" + (f"_{number}" if number else ""),
                operator=operation,
                type="" if moves else self._type,
                layer=bool(TORCH_LAYERS.search(operation)) and not moves,
            )
            self._pairs.append((kernel, Links(scope=scope, call=operation)))
        return self._places[key]

    def read(self) -> Recorded:
        return Recorded(kernels=self._pairs, calls=self._calls)

    def close(self) -> None:
        """Keep the module: the session that was measured has the same one."""


def operations(events: Sequence[Any], on_device: bool) -> list[list[Operation]]:
    """Operations that modules call themselves, in each marked call. `on_device`: their times are those of a GPU's kernels.

    torch gives an operation the kernels that it starts, and those that the operations inside it start. A mark stands a second
    time among the events of the GPU, around the kernels.
    """
    on_cpu = sorted((event for event in events if event.device_type.name == "CPU"), key=lambda event: event.time_range.start)
    inside = [event for event in on_cpu if _is_operation(event)]
    return [_of_call([event for event in inside if _within(event, root)], on_device) for root in on_cpu if root.name == CALL]


def _of_call(events: Sequence[Any], on_device: bool) -> list[Operation]:
    counts: dict[tuple[str, str], int] = {}
    called = []
    for event in events:
        scope = event.cpu_parent.name.removeprefix(MODULE)
        number = counts[scope, event.name] = counts.get((scope, event.name), -1) + 1
        if on_device:  # the begin on the CPU is that of the start of its kernels
            called.append(Operation(scope, event.name, number, event.device_time_total * 1e3, None))
        else:
            begin_ns = event.time_range.start * 1e3
            called.append(Operation(scope, event.name, number, event.cpu_time_total * 1e3, begin_ns))
    return called


def _within(event: Any, root: Any) -> bool:
    return bool(event.time_range.start >= root.time_range.start and event.time_range.end <= root.time_range.end)


def _is_operation(event: Any) -> bool:
    """True for an operation that a module calls itself."""
    parent = event.cpu_parent
    return parent is not None and parent.name.startswith(MODULE) and not event.name.startswith(MODULE)
