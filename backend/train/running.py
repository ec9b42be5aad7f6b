"""What every training run has: a running average, checkpoints, a time budget, steps made ahead."""

from __future__ import annotations

import csv
import queue
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from copy import deepcopy
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import torch
from torch import nn

from backend.atomic import atomic_path

CHECKPOINT = "checkpoint.pt"
_LOG_SECONDS = 20.0

_PIECE_END: ContextVar[float] = ContextVar("piece_end", default=float("inf"))
"""On the monotonic clock: when a training stops though its budget is not spent."""

NetT = TypeVar("NetT", bound=nn.Module)
PlanT = TypeVar("PlanT")
StepT = TypeVar("StepT")


@contextmanager
def piece_until(end: float) -> Iterator[None]:
    """Let a training that is begun inside save itself and return at a time of `time.monotonic`."""
    token = _PIECE_END.set(end)
    try:
        yield
    finally:
        _PIECE_END.reset(token)


class RunSettings(Protocol):
    """What a run needs of its settings."""

    @property
    def out(self) -> Path:
        """Folder of the checkpoint, the weights and the tables."""

    @property
    def minutes(self) -> float:
        """Time budget."""

    @property
    def steps(self) -> int | None:
        """Budget in steps, where time is not to decide."""

    @property
    def ema(self) -> float:
        """Weight of the past in the running average, a step."""

    @property
    def resume(self) -> bool:
        """Go on from the checkpoint in `out`."""

    @property
    def checkpoint_seconds(self) -> float:
        """Between checkpoints."""

    @property
    def validate_seconds(self) -> float:
        """Between validations."""


class TrainingRun(ABC, Generic[NetT]):
    """A network, its running average and the optimiser: all that a checkpoint holds."""

    def __init__(self, settings: RunSettings, net: NetT, groups: Sequence[dict[str, Any]]) -> None:
        """groups: of the optimiser, AdamW."""
        self._run = settings
        self.net = net
        self.device = next(net.parameters()).device
        self.average = deepcopy(net).eval()
        self.optimiser = torch.optim.AdamW(list(groups), betas=(0.9, 0.99), fused=True)
        self.step_count = 0
        self.samples = 0
        self.seconds = 0.0

    @abstractmethod
    def save_weights(self) -> None:
        """Write the averaged weights, whole or not at all."""

    @property
    def progress(self) -> float:
        """Share of the budget that is spent."""
        if self._run.steps is not None:
            return self.step_count / self._run.steps
        return self.seconds / (60.0 * self._run.minutes)

    def take_up(self) -> bool:
        """Go on from the checkpoint where that is wanted and there is one; whether it did."""
        checkpoint = self._run.out / CHECKPOINT
        if not (self._run.resume and checkpoint.exists()):
            return False
        self.load_state(self.load(checkpoint))
        return True

    def load(self, path: Path) -> dict[str, Any]:
        """A checkpoint or other weights, on this run's device."""
        return torch.load(path, map_location=self.device, weights_only=True)

    def state(self) -> dict[str, Any]:
        """Everything that a run goes on from."""
        return {
            "net": self.net.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step_count": self.step_count,
            "samples": self.samples,
            "seconds": self.seconds,
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """The inverse of `state`."""
        self.net.load_state_dict(state["net"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step_count = int(state["step_count"])
        self.samples = int(state["samples"])
        self.seconds = float(state["seconds"])

    @torch.no_grad()
    def count_step(self, samples: int) -> None:
        """After a step of the optimiser: count it, and move the average."""
        self.step_count += 1
        self.samples += samples
        # Shorter memory at first, or the average would keep the untrained weights for long.
        keep = min(self._run.ema, (1 + self.step_count) / (10 + self.step_count))
        ours, theirs = self.average.state_dict(), self.net.state_dict()
        floats = [name for name, value in ours.items() if value.is_floating_point()]
        torch._foreach_lerp_(
            [ours[name] for name in floats], [theirs[name] for name in floats], 1 - keep
        )

    def save(self) -> None:
        """Write the checkpoint and the averaged weights, each whole or not at all."""
        with atomic_path(self._run.out / CHECKPOINT) as temporary:
            torch.save(self.state(), temporary)
        self.save_weights()

    def spend(
        self,
        step: Callable[[], Mapping[str, float]],
        row: Callable[[Mapping[str, float]], Mapping[str, float]],
        validate: Callable[[], Mapping[str, float]] | None,
    ) -> None:
        """Train until the budget is spent, or the piece that `piece_until` allows.

        step: one step, its losses by name. row: what metrics.csv says besides the counters, from
        the mean losses and `images_per_second`. validate: figures for validation.csv.
        """
        run = self._run
        last_save = last_validation = last_log = last = time.monotonic()
        sums: dict[str, list[float]] = {}
        first_sample = self.samples
        while self.progress < 1.0:
            for name, value in step().items():
                sums.setdefault(name, []).append(value)
            now = time.monotonic()
            self.seconds += now - last
            last = now
            done = self.progress >= 1.0
            if now - last_log > _LOG_SECONDS or done:
                means = {
                    "images_per_second": (self.samples - first_sample) / (now - last_log),
                    **{name: float(np.mean(values)) for name, values in sums.items()},
                }
                counters = {
                    "minutes": self.seconds / 60,
                    "step": self.step_count,
                    "samples": self.samples,
                }
                log_row(run.out / "metrics.csv", {**counters, **row(means)})
                last_log, first_sample, sums = now, self.samples, {}
            if now - last_save > run.checkpoint_seconds:
                self.save()
                last_save = now
            if validate is not None and (now - last_validation > run.validate_seconds or done):
                log_row(run.out / "validation.csv", {"minutes": self.seconds / 60, **validate()})
                last_validation = now
            if now >= _PIECE_END.get():  # after a step at least: every piece gets further
                break


class StepsAhead(Generic[PlanT, StepT]):
    """Steps made in a thread while the network trains, each for a plan that may change."""

    _plan: PlanT

    def __init__(self, make: Callable[[PlanT, int], StepT]) -> None:
        """make: a step from its plan and its number, from 1."""
        self._make_step = make
        self._ready: queue.Queue[tuple[PlanT, StepT | BaseException]] = queue.Queue(maxsize=4)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def start(self, plan: PlanT) -> None:
        """Begin with a plan."""
        self._plan = plan
        self._thread.start()

    def next(self, plan: PlanT) -> StepT:
        """The next step of a plan; those made for another one are thrown away."""
        self._plan = plan
        while True:
            made_for, step = self._ready.get()
            if isinstance(step, BaseException):
                raise step
            if made_for == plan:
                return step

    def close(self) -> None:
        """Stop the thread."""
        self._stop.set()
        while self._thread.is_alive():
            try:
                self._ready.get(timeout=0.05)
            except queue.Empty:
                continue

    def _work(self) -> None:
        count = 0
        try:
            while not self._stop.is_set():
                count += 1
                plan = self._plan
                self._ready.put((plan, self._make_step(plan, count)))
        except BaseException as error:  # the training loop raises it
            self._ready.put((self._plan, error))


def rate(progress: float, warm_up: float) -> float:
    """Factor of the learning rate: a linear rise, then a cosine down to a hundredth."""
    if progress < warm_up:
        return max(progress / warm_up, 0.02)
    share = min((progress - warm_up) / (1 - warm_up), 1.0)
    return 0.01 + 0.99 * 0.5 * (1 + float(np.cos(np.pi * share)))


def log_row(path: Path, row: Mapping[str, float]) -> None:
    """Append a row to a CSV file, with its header where it is new, and print it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, list(row))
        if new:
            writer.writeheader()
        writer.writerow({name: f"{value:.5g}" for name, value in row.items()})
    print("  ".join(f"{name} {value:.4g}" for name, value in row.items()), flush=True)
