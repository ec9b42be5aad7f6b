"""Steps made by other processes, for a device that trains faster than one thread makes batches.

Each process draws its own samples. Tensors come through shared memory, images as they are stored,
one byte a value; nothing is copied on the way to the trainer.
"""

from __future__ import annotations

import queue
from collections.abc import Callable
from typing import Any, Generic

import torch
from torch import multiprocessing

from backend.errors import MienError
from backend.train.running import PlanT, StepsAhead, StepT

MakeSteps = Callable[[int], Callable[[PlanT, int], StepT]]
"""Of a worker's number (0 in the trainer itself): what makes a step of a plan and a count from 1.

A module's function or a `functools.partial` of one, so that another process can call it."""
WORKER_SEEDS = 7_919_000
"""Between the seeds of two workers: more than a run has steps."""
_AHEAD = 3
"""Steps a process that wait to be trained on."""
_SLOW_START_S = 120.0
_POLL_S = 5.0


def steps_ahead(
    make_steps: MakeSteps[PlanT, StepT], workers: int
) -> StepsAhead[PlanT, StepT] | StepsFromProcesses[PlanT, StepT]:
    """Steps from a thread of this process (workers 0), or from so many others."""
    if workers == 0:
        return StepsAhead(make_steps(0))
    return StepsFromProcesses(make_steps, workers)


class StepsFromProcesses(Generic[PlanT, StepT]):
    """What `StepsAhead` is, with processes in place of its thread."""

    def __init__(self, make_steps: MakeSteps[PlanT, StepT], workers: int) -> None:
        # Named memory: descriptors of many small tensors would exceed the limit of open files.
        torch.multiprocessing.set_sharing_strategy("file_system")
        context = multiprocessing.get_context("spawn")
        self._ready: Any = context.Queue(maxsize=_AHEAD * workers)
        self._plans = [context.Queue() for _ in range(workers)]
        self._stop = context.Event()
        self._processes = [
            context.Process(
                target=_work,
                args=(make_steps, number + 1, plans, self._ready, self._stop),
                daemon=True,
            )
            for number, plans in enumerate(self._plans)
        ]
        self._plan: PlanT | None = None

    def start(self, plan: PlanT) -> None:
        """Begin with a plan."""
        self._announce(plan)
        for process in self._processes:
            process.start()

    def _announce(self, plan: PlanT) -> None:
        self._plan = plan
        for plans in self._plans:
            plans.put(plan)

    def next(self, plan: PlanT) -> StepT:
        """The next step of a plan; those made for another one are thrown away.

        Raises: what a process raised, and MienError where one died.
        """
        if plan != self._plan:
            self._announce(plan)
        waited = 0.0
        while True:
            try:
                made_for, step = self._ready.get(timeout=_POLL_S)
            except queue.Empty:
                waited += _POLL_S
                dead = [p.exitcode for p in self._processes if not p.is_alive()]
                if dead:
                    raise MienError(f"A process that makes batches ended ({dead[0]}).") from None
                if waited >= _SLOW_START_S:
                    raise MienError("No process makes batches any more.") from None
                continue
            if isinstance(step, BaseException):
                raise step
            if made_for == plan:
                return step  # type: ignore[no-any-return]

    def close(self) -> None:
        """Stop the processes."""
        self._stop.set()
        for process in self._processes:
            while process.is_alive():
                try:  # a full queue would keep it from ending
                    self._ready.get(timeout=0.05)
                except queue.Empty:
                    process.join(timeout=0.05)


def _work(
    make_steps: MakeSteps[PlanT, StepT], number: int, plans: Any, ready: Any, stop: Any
) -> None:
    import cv2

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    torch.multiprocessing.set_sharing_strategy("file_system")
    plan, count = plans.get(), 0
    try:
        make = make_steps(number)
        while not stop.is_set():
            try:
                while True:
                    plan = plans.get_nowait()
            except queue.Empty:
                pass
            count += 1
            step = make(plan, count)
            while not stop.is_set():
                try:
                    ready.put((plan, step), timeout=0.2)
                    break
                except queue.Full:
                    continue
    except BaseException as error:  # the training loop raises it
        ready.put((plan, error))
    else:
        ready.cancel_join_thread()
