"""Recording a function of tensors: the doors through which tracers come in, and what is left."""

import threading
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from gputensor import autograd, backend
from gputensor.autograd import Leaf, Node, Tensor
from gputensor.graph import trace
from gputensor.graph.ir import map_values
from gputensor.graph.trace import CudaTracer, HostTracer, Recording, Tracer, TracingNamespace

__all__ = ["Recorded", "recorded"]

_slot: Any = Tensor.__dict__["array"]
_buffer_slot: Any = Leaf.__dict__["buffer"]


class _Door:
    """``Tensor.array`` while a thread records: gives tracers, and knows the tensors made."""

    def __get__(self, t: Any, owner: Any = None) -> Any:
        raw = _slot.__get__(t, owner)
        recording = trace.current()
        if recording is None or isinstance(raw, Tracer) or recording.reason is not None:
            return raw
        return recording.tensor(t, raw)

    def __set__(self, t: Any, raw: Any) -> None:
        recording = trace.current()
        if recording is not None:
            recording.made(t, raw)
        _slot.__set__(t, raw)


class _BufferDoor:
    def __get__(self, leaf: Any, owner: Any = None) -> Any:
        raw = _buffer_slot.__get__(leaf, owner)
        recording = trace.current()
        if raw is None or recording is None or isinstance(raw, Tracer) or recording.reason is not None:
            return raw
        return recording.enter(raw)

    def __set__(self, leaf: Any, raw: Any) -> None:
        _buffer_slot.__set__(leaf, raw)


class Recorded(Recording):
    def __init__(self, device):
        super().__init__(device)
        self.made_tensors: dict[int, weakref.ref] = {}
        self.seen: dict[int, tuple[Tensor, Any]] = {}

    def tensor(self, t, raw):
        if id(t) not in self.made_tensors:
            self.seen[id(t)] = t, raw
        return self.enter(raw)

    def made(self, t, raw):
        try:
            _slot.__get__(t, Tensor)
        except AttributeError:
            self.made_tensors[id(t)] = weakref.ref(t)
            return
        ref = self.made_tensors.get(id(t))
        if ref is None or ref() is not t:
            self.end("a tensor from outside takes another array")


_lock = threading.Lock()
_open = 0


def _open_doors():
    global _open
    with _lock:
        _open += 1
        if _open == 1:
            Tensor.array = _Door()
            Leaf.buffer = _BufferDoor()


def _close_doors():
    global _open
    with _lock:
        _open -= 1
        if _open == 0:
            Tensor.array = _slot
            Leaf.buffer = _buffer_slot


def _clean(node):
    waiting=[node]; seen=set()
    while waiting:
        n=waiting.pop()
        if id(n) in seen or not isinstance(n, Node): continue
        seen.add(id(n))
        f=lambda x: x.value if isinstance(x,Tracer) else x
        n.saved = None if n.saved is None else tuple(map(f,n.saved))
        n.out = map_values(f, n.out)
        n.attrs = map_values(f,n.attrs)
        waiting += n.parents


def recorded(function, args, kwargs, device):
    recording = Recorded(device)
    _open_doors()
    backend._local.recording = recording
    try:
        out = function(*args, **kwargs)
        # still recording
        def res(leaf):
            if isinstance(leaf, Tensor):
                leaf = leaf.array
            if isinstance(leaf, Tracer):
                return recording.value_of(leaf.value)
            return leaf
        if recording.reason is None:
            recording.graph.result = map_values(res, out)
    finally:
        backend._local.recording = None
        _close_doors()
        for ref in recording.made_tensors.values():
            t = ref()
            if t is not None:
                raw = _slot.__get__(t, Tensor)
                if isinstance(raw, Tracer):
                    _slot.__set__(t, raw.value)
                if t._node is not None: _clean(t._node)
    return out, recording


# registration
backend.NAMESPACES[HostTracer] = TracingNamespace(backend.NAMESPACES[np.ndarray])
HOST = backend.NAMESPACES[HostTracer]
