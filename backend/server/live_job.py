"""The supervisor's view of a job that somebody is interested in."""

from __future__ import annotations

import time

from backend.server.internal import Stored
from backend.server.result_log import Record, ResultLog
from backend.server.store import JobFolder, ResultWriter
from shared.messages import FINAL_STATES, JobCancelled, JobFailed, JobState, JobStatus, Progress


class LiveJob:
    """State of a job and a reader of its results."""

    def __init__(self, job_id: str, folder: JobFolder) -> None:
        self.job_id = job_id
        self.folder = folder
        self.job = folder.describe().job
        self.state: JobState | None = None
        """None for a job that was interrupted and that nobody has submitted again yet."""
        self.attempt, self.start, self.n_results = 1, 1, 0
        self.progress: Progress | None = None
        self.cancelled_at: float | None = None
        self.deaths = 0
        """Workers that died in it since it last gave a new result."""
        self._log: ResultLog | None = None
        self.reload()

    @property
    def is_final(self) -> bool:
        """Whether it has ended."""
        return self.state in FINAL_STATES

    def reload(self) -> None:
        """Take what is on disk, without a worker's help."""
        final = self.folder.final_state()
        if final is not None:
            self.state = final.state
        current = self._open()
        if current is not None and self._log is not None:
            self.attempt, self.start = current
            self.n_results = self._log.refresh()

    def stored(self, message: Stored) -> None:
        """Take note of what the worker has stored."""
        if message.n_results > self.n_results or message.attempt != self.attempt:
            self.deaths = 0
        if message.attempt != self.attempt:
            self.close()
        self.attempt, self.start = message.attempt, message.start
        self.n_results = message.n_results
        if message.state is not None:
            self.state = message.state

    def read(self, sequence: int) -> Record:
        """Return a result by its number, 1 to n_results. Raises OSError, DamagedLogError."""
        self._open()
        if self._log is None:
            raise FileNotFoundError(f"{self.folder.path}: there are no results")
        if sequence > len(self._log.offsets):
            self._log.refresh()
        if sequence > len(self._log.offsets):
            raise FileNotFoundError(f"{self._log.path}: result {sequence} is missing")
        return self._log.read(sequence - 1)

    def first_to_send(self, attempt: int, after: int) -> int:
        """Return the number of the first result that a client lacks.

        attempt, after: of the last result that the client has; 0 where it has none.
        """
        if attempt == self.attempt:
            return min(after, self.n_results) + 1
        if attempt == self.attempt - 1:
            return min(after + 1, self.start)
        return 1

    def finish(self, result: JobCancelled | JobFailed) -> None:
        """End the job without a worker; nobody else may be writing to it."""
        with ResultWriter(self.folder, self.job_id, lock_timeout_s=1.0) as writer:
            if not writer.complete():
                writer.resume_at_end()
                writer.put(result)
        self.close()
        self.reload()

    def status(self, queue_position: int = 0) -> JobStatus:
        """Return what to tell clients."""
        return JobStatus(
            job_id=self.job_id,
            state=self.state or "queued",
            queue_position=queue_position,
            attempt=self.attempt,
            n_results=self.n_results,
        )

    def close(self) -> None:
        """Close the results; reading opens them again."""
        if self._log is not None:
            self._log.close()
            self._log = None

    def _open(self) -> tuple[int, int] | None:
        """Open the newest results unless some are open; returns their attempt and start."""
        if self._log is not None:
            return self.attempt, self.start
        for _ in range(50):
            current = self.folder.current_log()
            if current is None:
                return None
            try:
                self._log = ResultLog(current[2])
            except FileNotFoundError:
                time.sleep(0.001)  # A new attempt has just replaced it: look again.
                continue
            return current[0], current[1]
        return None
