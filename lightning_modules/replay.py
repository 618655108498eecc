"""Training passes of a landmarker replayed from CUDA graphs.

A landmarker is hundreds of small layers, and what a GPU computes in a millisecond a host takes many to ask for: on an
H200, full SLPT takes 160 ms a step on 16 crops and on 128. A graph is asked for at once: 34 ms on 16.
"""

import logging
import warnings
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Protocol

import torch
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from lightning_modules.landmarkers.base import Landmarker, LandmarkerOutput

log = logging.getLogger(__name__)

EAGER_PASSES: Final = 3
"""How many in the same manner come before one that is recorded: an epoch's last, smaller batch is not worth it."""
_MOST: Final = 4
"""Graphs kept at once; each holds the memory of a pass."""
_WARM_UP: Final = 3
"""Passes before a recording, in which libraries choose their algorithms and set up their workspaces."""


class Recorded(Protocol):
    """A pass that can be repeated: forward, and backward."""

    def forward(self, images: Tensor) -> Sequence[Tensor]:
        """The outputs for ``images``; valid until the next call."""

    def backward(self, slopes: Sequence[Tensor]) -> Sequence[Tensor | None]:
        """The parameters' gradients for the last images, from those of the outputs; valid until the next call."""


Record = Callable[[Callable[[Tensor], Sequence[Tensor]], Sequence[nn.Parameter], Tensor], Recorded]


class CudaRecording:
    """A pass and its backward pass, each as a CUDA graph.

    Args:
        run: images to tensors.
        parameters: what the gradient is wanted for.
        images: a batch; others must be like it in shape and type.
    """

    def __init__(
        self, run: Callable[[Tensor], Sequence[Tensor]], parameters: Sequence[nn.Parameter], images: Tensor
    ) -> None:
        self.images = images.detach().clone()
        with warnings.catch_warnings():
            # Nodes that accumulate gradients may be there from passes before, which ran on another stream. Here nothing
            # is accumulated.
            warnings.filterwarnings("ignore", message="The AccumulateGrad node's stream")
            self._warm_up(run, parameters)
            # The loader's own thread may pin memory meanwhile, which the default mode takes for an error.
            mode = "thread_local"
            self._forward, self._backward = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._forward, capture_error_mode=mode):
                outputs = run(self.images)
            self._slopes = [torch.zeros_like(each) for each in outputs]
            with torch.cuda.graph(self._backward, pool=self._forward.pool(), capture_error_mode=mode):
                self._gradients = self._gradient(outputs, parameters, self._slopes)
            self._outputs = [each.detach() for each in outputs]

    def _warm_up(self, run: Callable[[Tensor], Sequence[Tensor]], parameters: Sequence[nn.Parameter]) -> None:
        here = torch.cuda.current_stream(self.images.device)
        stream = torch.cuda.Stream(self.images.device)  # type: ignore[no-untyped-call]
        stream.wait_stream(here)
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UP):
                outputs = run(self.images)
                self._gradient(outputs, parameters, [torch.zeros_like(each) for each in outputs])
        here.wait_stream(stream)

    def forward(self, images: Tensor) -> Sequence[Tensor]:
        """See :class:`Recorded`."""
        self.images.copy_(images)
        self._forward.replay()
        return self._outputs

    def backward(self, slopes: Sequence[Tensor]) -> Sequence[Tensor | None]:
        """See :class:`Recorded`."""
        for held, slope in zip(self._slopes, slopes, strict=True):
            held.copy_(slope)
        self._backward.replay()
        return self._gradients

    @staticmethod
    def _gradient(
        outputs: Sequence[Tensor], parameters: Sequence[nn.Parameter], slopes: Sequence[Tensor]
    ) -> Sequence[Tensor | None]:
        differentiable = [(out, slope) for out, slope in zip(outputs, slopes, strict=True) if out.requires_grad]
        of, by = zip(*differentiable, strict=True)
        return torch.autograd.grad(of, parameters, by, allow_unused=True)


@dataclass
class Passes:
    """A landmarker's training passes, recorded where they recur and else done as ever.

    One at a time: a pass that begins before the last one's gradient was asked for is done as ever, since a recording
    has one place for what backward needs. What a pass returns is valid until the next one.

    Args:
        landmarker: whose.
        record: makes a recording.
    """

    landmarker: Landmarker
    record: Record = CudaRecording
    _seen: dict[Hashable, int] = field(default_factory=dict)
    _recorded: dict[Hashable, "_Pass | None"] = field(default_factory=dict)

    def __call__(self, images: Tensor) -> LandmarkerOutput:
        """The landmarker's output for crops, RGB in [0, 1], shape ``(B, 3, S, S)``."""
        known = self._known(images) if torch.is_grad_enabled() and not images.requires_grad else None
        output: LandmarkerOutput = self.landmarker(images) if known is None or known.pending else known(images)
        return output

    @property
    def recorded(self) -> bool:
        """Whether any pass is a recording by now."""
        return any(self._recorded.values())

    def _known(self, images: Tensor) -> "_Pass | None":
        """The recording for such a pass, made now if its turn has come."""
        manner = self._manner(images)
        self._seen[manner] = self._seen.get(manner, 0) + 1
        if self._seen[manner] == EAGER_PASSES + 1 and len(self._recorded) < _MOST:
            self._recorded[manner] = self._recording(images)
        return self._recorded.get(manner)

    def _recording(self, images: Tensor) -> "_Pass | None":
        try:
            return _Pass(self.landmarker, images, self.record)
        except RuntimeError as error:
            why = str(error).partition("\n")[0]
            name = type(self.landmarker).__name__
            log.warning("%s's training passes cannot be recorded as CUDA graphs and are done as ever: %s", name, why)
            return None

    def _manner(self, images: Tensor) -> Hashable:
        """All that a recording cannot change: the batch's form, what learns, who is in training, autocast."""
        kind = images.device.type
        learns = tuple(parameter.requires_grad for parameter in self.landmarker.parameters())
        modes = tuple(module.training for module in self.landmarker.modules())
        cast = torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)
        return images.shape, images.dtype, images.stride(), learns, modes, cast


class _Place(NamedTuple):
    """Stands for a tensor in an output that is yet to be put together."""

    number: int


class _Pass:
    """One recording, and the landmarker's output put together from it, of its own class: the loss may need more."""

    def __init__(self, landmarker: Landmarker, images: Tensor, record: Record) -> None:
        self.pending = False
        self.parameters = [parameter for parameter in landmarker.parameters() if parameter.requires_grad]
        self.form: LandmarkerOutput | None = None
        self.differentiable: list[bool] = []
        kind = images.device.type
        enabled, dtype = torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)

        def run(crops: Tensor) -> Sequence[Tensor]:
            # A cast weight that autocast keeps would lie in the memory of whichever pass cast it.
            with torch.autocast(kind, dtype, enabled, cache_enabled=False):
                output = landmarker(crops)
            tensors: list[Tensor] = []

            def place(tensor: Tensor) -> _Place:
                tensors.append(tensor)
                return _Place(len(tensors) - 1)

            self.form = apply_to_collection(output, Tensor, place)
            self.differentiable = [tensor.requires_grad for tensor in tensors]
            return tensors

        # A recording makes passes of its own, which leave no trace: neither in batch norm's statistics nor in the
        # random numbers that dropout draws, so that a resumed run is as one that never stopped.
        buffers = [(buffer, buffer.clone()) for buffer in landmarker.buffers()]
        random = torch.cuda.get_rng_state(images.device) if images.is_cuda else None
        try:
            self.recorded = record(run, self.parameters, images)
        finally:
            if random is not None:
                torch.cuda.set_rng_state(random, images.device)
            with torch.no_grad():
                for buffer, before in buffers:
                    buffer.copy_(before)

    def __call__(self, images: Tensor) -> LandmarkerOutput:
        self.pending = True
        values: Sequence[Tensor] = _Replay.apply(self, images, *self.parameters)
        output: LandmarkerOutput = apply_to_collection(self.form, _Place, lambda place: values[place.number])
        return output


class _Replay(torch.autograd.Function):
    """A recording as a node of autograd's graph."""

    @staticmethod
    def forward(ctx: Any, made: _Pass, images: Tensor, *parameters: Tensor) -> tuple[Tensor, ...]:
        ctx.made = made
        values = tuple(each.detach() for each in made.recorded.forward(images))
        learns = made.differentiable
        ctx.mark_non_differentiable(*(value for value, given in zip(values, learns, strict=True) if not given))
        return values

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Any, ...]:
        gradients = ctx.made.recorded.backward(slopes)
        ctx.made.pending = False
        return None, None, *(None if each is None else each.detach() for each in gradients)
