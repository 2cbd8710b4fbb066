"""Trainer of a pipeline's rank: some stages of the model, and all images in microbatches. Imports torch inside functions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...errors import Unsupported
from .process_group import ProcessGroup
from .rank_jobs import GPIPE, INTERLEAVED, ONE_F_ONE_B, RANK_STAGES, JoinRanks
from .stages import between, layers_of
from .train_job import EVALUATION_BATCH, Parts, Trainer, arithmetic, copied, score, trainer_parts

if TYPE_CHECKING:
    import torch

COMPUTE = "onnxbench compute"  # annotation of the profiler
SCHEDULE_CLASSES = {GPIPE: "ScheduleGPipe", ONE_F_ONE_B: "Schedule1F1B", INTERLEAVED: "ScheduleInterleaved1F1B"}
IGNORED = -100  # label of an image that only fills the last batch; cross_entropy skips it


@dataclass(kw_only=True)
class PipelineTrainer(Trainer):
    """Trainer of one rank's stages. Activations go to the next rank and gradients to the one before, a microbatch at a time.

    `network`: a module for each stage of this rank. `shapes`: shape of one image between all stages. `images`: real images of
    the step. `expected`: outputs of the whole model for the first batch, which the last rank compares with the pipeline's.
    """

    group: ProcessGroup
    schedule: Any
    shapes: tuple[tuple[int, ...], ...]
    layers: list[Any]
    cuts: tuple[int, ...]
    expected: torch.Tensor | None = None
    images: int = 0
    output_error: float | None = None

    @property
    def stages(self) -> range:
        """Numbers of the stages of this rank."""
        return _stages_of(self.group.rank, self.group.ranks, len(self.network))

    @property
    def is_first(self) -> bool:
        """True for the rank that takes the images."""
        return self.group.rank == 0

    @property
    def is_last(self) -> bool:
        """True for the rank that computes the loss."""
        return self.group.rank == self.group.ranks - 1

    def step(self, images: torch.Tensor, labels: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        import torch

        filling = self.batch_size - len(rows)
        self.images = len(rows)
        self.optimizer.zero_grad()
        losses: list[torch.Tensor] = []
        x = (copied(images, torch.cat([rows, rows[:1].expand(filling)]), self.device),) if self.is_first else ()
        more: dict[str, Any] = {}
        if self.is_last:
            target = torch.nn.functional.pad(labels[rows], (0, filling), value=IGNORED)
            more = {"target": target.to(self.device), "losses": losses}
        output = self.schedule.step(*x, **more)
        self._compare(output)
        with torch.profiler.record_function(COMPUTE):
            self.optimizer.step()
        return torch.stack(losses).sum() if losses else torch.zeros(())

    def _compare(self, output: torch.Tensor) -> None:
        """Compare the first output with the whole model's."""
        if self.expected is not None:
            far = (output[: len(self.expected)].detach().cpu() - self.expected).abs().max()
            self.output_error, self.expected = float(far / self.expected.abs().max()), None

    def loss(self, logits: torch.Tensor, target: torch.Tensor, images: int = 0) -> torch.Tensor:
        """Share of a microbatch in the mean over all real images of the step."""
        import torch

        with torch.profiler.record_function(COMPUTE):
            return torch.nn.functional.cross_entropy(logits, target, reduction="sum", ignore_index=IGNORED) / self.images

    def test(self, images: torch.Tensor, labels: torch.Tensor, on_batch: Callable[[], None]) -> tuple[float, float]:
        """Mean cross-entropy, and accuracy in per cent: batches pass through the stages, without a schedule."""
        import torch

        loss, right = 0.0, 0
        self.network.eval()
        with torch.inference_mode():
            for x, y in zip(images.split(EVALUATION_BATCH), labels.split(EVALUATION_BATCH)):
                output = self._pass(x)
                if self.is_last:
                    batch_loss, batch_right = score(output, y.to(self.device))
                    loss, right = loss + batch_loss, right + batch_right
                on_batch()
        return self.mean_score(loss, right, len(images))

    def _pass(self, x: torch.Tensor) -> torch.Tensor:
        """Output of the last stage of this rank for a batch of images, which the stages before it compute."""
        import torch
        from torch import distributed

        ranks, last = self.group.ranks, len(self.cuts)
        for module, stage in zip(self.network, self.stages, strict=True):
            given = x.to(self.device) if stage == 0 else torch.empty((len(x), *self.shapes[stage]), device=self.device)
            if stage > 0:
                distributed.recv(given, (stage - 1) % ranks)
            output: torch.Tensor = module(given)
            if stage < last:
                distributed.send(output.contiguous(), (stage + 1) % ranks)
        return output

    def mean_score(self, loss: float, right: int, images: int) -> tuple[float, float]:
        loss, right_sum = self.group.sums([loss, right])
        return loss / images, 100 * right_sum / images

    def all_losses(self) -> list[float]:
        """Losses of the first steps, which the last rank has."""
        return self.group.sums([float(loss) for loss in self.losses])

    def finish(self) -> None:
        super().finish()
        self.group.sums([0.0])

    def whole_network(self) -> Any:
        """The trained network. Each rank sends the weights of its stages to rank 0."""
        import torch
        from torch import distributed

        others = (stage for stage in range(len(self.cuts) + 1) if stage % self.group.ranks)
        for stage in others:
            for layer in self.layers[between(self.cuts, stage, len(self.layers))]:
                for tensor in layer.state_dict().values():
                    moved = tensor.to(self.device)
                    if stage in self.stages:
                        distributed.send(moved, 0)
                    elif self.is_first:
                        distributed.recv(moved, stage % self.group.ranks)
                        tensor.copy_(moved)
        return torch.nn.Sequential(*self.layers)


def make(torch: Any, job: JoinRanks, network: Any, group: ProcessGroup, parts: Parts) -> PipelineTrainer:
    """Stages of this rank on its device, and the schedule that all ranks follow."""
    if job.precision == "fp16":
        raise Unsupported("pipeline training does not support fp16, whose loss scale all stages would have to share")
    layers = layers_of(torch, network, job.model)
    shapes = _shapes(torch, layers, parts["train"][0][:1], job.cuts)
    expected = _expected(torch, job, network, parts["train"][0])
    stages = _stages_of(job.rank, job.ranks, RANK_STAGES[job.schedule])
    modules = [_module(torch, layers[between(job.cuts, stage, len(layers))], job).to(job.device) for stage in stages]
    trainer = PipelineTrainer(
        **trainer_parts(torch, job, torch.nn.ModuleList(modules)),
        group=group,
        schedule=None,
        shapes=shapes,
        layers=layers,
        cuts=job.cuts,
        expected=expected,
    )
    trainer.schedule = _schedule(torch, job, trainer)
    return trainer


def _stages_of(rank: int, ranks: int, count: int) -> range:
    """Numbers of the `count` stages of a rank."""
    return range(rank, ranks * count, ranks)


def _shapes(torch: Any, layers: list[Any], x: torch.Tensor, cuts: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """Shape of one image before each stage, and after the last one."""
    shapes = []
    with torch.no_grad():
        for number, layer in enumerate(layers):
            if number in (0, *cuts):
                shapes.append(tuple(x.shape[1:]))
            x = layer.eval()(x)
    return (*shapes, tuple(x.shape[1:]))


def _expected(torch: Any, job: JoinRanks, network: Any, images: torch.Tensor) -> torch.Tensor | None:
    """Outputs of the whole model for the first batch, on the last rank; None for a model whose state a batch changes."""
    if job.rank < job.ranks - 1 or any(True for _ in network.buffers()):
        return None
    # the order of the first epoch, which Trainer.steps draws from the same seed
    rows = torch.randperm(len(images), generator=torch.Generator().manual_seed(job.seed))[: job.batch_size]
    with torch.no_grad():
        whole: torch.Tensor = network(images[rows])
    return whole


def _module(torch: Any, layers: list[Any], job: JoinRanks) -> Any:
    """Module of one stage. It computes in the precision, and takes and returns FP32, which all stages exchange.

    The activation that a stage receives needs a gradient of its own, so no layer may write into it.
    """
    writes = any(getattr(part, "inplace", False) for layer in layers for part in layer.modules())

    class StageModule(torch.nn.Sequential):  # type: ignore[misc]
        """Layers of one stage, one after the other."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            with arithmetic(job.device, job.precision):
                output: torch.Tensor = super().forward(x.clone() if writes else x)
            return output.float()

    return StageModule(*layers)


def _schedule(torch: Any, job: JoinRanks, trainer: PipelineTrainer) -> Any:
    """Schedule of torch.distributed.pipelining. The profiler sees each forward and each backward of a microbatch."""
    from torch.distributed import pipelining

    size, stages = job.batch_size // job.microbatches, []
    for module, number in zip(trainer.network, trainer.stages, strict=True):
        # with both ends given, the stages exchange no pickled description of them; only the images need no gradient
        ends = [
            torch.empty((size, *trainer.shapes[place]), device=job.device).requires_grad_(place > 0)
            for place in (number, number + 1)
        ]
        stage = pipelining.PipelineStage(
            *(module, number, len(job.cuts) + 1, torch.device(job.device)), input_args=ends[0], output_args=ends[1]
        )
        for name in ("forward_one_chunk", "backward_one_chunk"):
            setattr(stage, name, torch.profiler.record_function(COMPUTE)(getattr(stage, name)))
        stages.append(stage)
    make_schedule = getattr(pipelining, SCHEDULE_CLASSES[job.schedule])
    given = stages if len(stages) > 1 else stages[0]
    return make_schedule(given, job.microbatches, loss_fn=trainer.loss, scale_grads=False)
