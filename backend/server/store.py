"""Jobs on disk, one folder each, so that whoever dies can go on where it was.

JOB_ID/job.json                       what to do (the submission), never changed
JOB_ID/results-ATTEMPT-START.bin      the results (result_log.py); ATTEMPT replaced the
                                      results from number START on
JOB_ID/state.json                     how it ended, once it has
JOB_ID/cancel                         somebody asked for it to stop
JOB_ID/lock                           held by the process that writes the results
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import msgspec

from backend.server.closing import Closing
from backend.server.locks import FileLock
from backend.server.result_log import ResultLog, pack_record
from shared.codec import decode_from_server, encode
from shared.connection import write_private
from shared.messages import (
    Job,
    JobCancelled,
    JobDone,
    JobFailed,
    JobResult,
    JobState,
)


class JobDescription(msgspec.Struct, frozen=True, kw_only=True):
    """Content of job.json."""

    job_id: str
    """Identifier that the client chose."""

    job: Job
    """What to do."""

    client: str
    """Name of the client that submitted it."""

    submitted_at: float
    """When, in seconds since 1970."""


class FinalState(msgspec.Struct, frozen=True, kw_only=True):
    """Content of state.json."""

    state: JobState
    """How the job ended."""

    n_results: int
    """Number of results."""

    attempt: int
    """Attempt that the last result belongs to."""


@dataclass(frozen=True)
class Extent:
    """How far the stored results of a job go."""

    attempt: int
    """Current attempt; 1 for a job that has no results yet."""

    start: int
    """Number of the first result that this attempt replaced; 1 for the first attempt."""

    n_results: int
    """How many results there are."""


def final_state_of(result: JobResult) -> JobState | None:
    """Return the state that a result puts its job in, None for all but the last."""
    if isinstance(result, JobDone):
        return "done"
    if isinstance(result, JobFailed):
        return "failed"
    return "cancelled" if isinstance(result, JobCancelled) else None


class JobFolder:
    """One job's folder: what the supervisor and the worker both read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def describe(self) -> JobDescription:
        """Return what to do. Raises OSError or msgspec.MsgspecError where it is damaged."""
        return msgspec.json.decode((self.path / "job.json").read_bytes(), type=JobDescription)

    def current_log(self) -> tuple[int, int, Path] | None:
        """Return attempt, start and path of the file with the current results, if any."""
        newest: tuple[int, int, Path] | None = None
        for path in self.path.glob("results-*-*.bin"):
            _, attempt, start = path.stem.split("-")
            found = (int(attempt), int(start), path)
            if newest is None or found[0] > newest[0]:
                newest = found
        return newest

    def final_state(self) -> FinalState | None:
        """Return how the job ended, None if it has not."""
        try:
            return msgspec.json.decode((self.path / "state.json").read_bytes(), type=FinalState)
        except (OSError, msgspec.MsgspecError):
            return None

    def request_cancel(self) -> None:
        """Leave a note that the job is to stop, which outlives the supervisor."""
        (self.path / "cancel").touch(mode=0o600)

    @property
    def cancel_requested(self) -> bool:
        """Whether somebody asked for the job to stop."""
        return (self.path / "cancel").exists()


class ResultWriter(Closing):
    """Numbers, stores and de-duplicates the results of a job, which may have run before.

    A rerun that gives what is stored already adds nothing; where it first differs, the results
    from there on are replaced under a new attempt. Only one process may hold it at a time.
    """

    def __init__(self, folder: JobFolder, job_id: str, lock_timeout_s: float = 10.0) -> None:
        self.folder = folder
        self.job_id = job_id
        self._lock = FileLock(folder.path / "lock")
        if not self._lock.acquire(lock_timeout_s):
            raise BlockingIOError(f"job {job_id} is being written by another process")
        current = folder.current_log()
        if current is None:
            self.attempt, self.start = 1, 1
            path = self._log_path()
            path.touch(mode=0o600)
        else:
            self.attempt, self.start, path = current
        self._log = ResultLog(path)
        self._log.refresh(verify=True)
        self._file = path.open("r+b", buffering=0)
        self._file.truncate(self._log.end)
        self._next = 0

    def close(self) -> None:
        """Close the file, and let another process write."""
        self._file.close()
        self._log.close()
        self._lock.close()

    @property
    def extent(self) -> Extent:
        """How far the stored results go."""
        return Extent(self.attempt, self.start, len(self._log.offsets))

    def resume_at_end(self) -> None:
        """Put the next result behind those that are stored, without running the job again."""
        self._next = len(self._log.offsets)

    def put(self, result: JobResult) -> bool:
        """Store the next result; returns whether anything new was stored."""
        sequence = self._next + 1
        if self._next < len(self._log.offsets):
            stored = self._log.read(self._next)
            again = encode(_numbered(result, self.job_id, stored.attempt, sequence))
            if tuple(map(bytes, again)) == stored.frames:
                self._next += 1
                self._note_final_state(result, stored.attempt, sequence)
                return False
            self._diverge(sequence)
        frames = encode(_numbered(result, self.job_id, self.attempt, sequence))
        self._append(pack_record(self.attempt, frames))
        self._log.refresh()
        self._next += 1
        self._note_final_state(result, self.attempt, sequence)
        return True

    def complete(self) -> bool:
        """Return whether the last stored result ends the job, and note so where it was missed.

        A writer may die between its last result and the note.
        """
        if not self._log.offsets:
            return False
        last = self._log.read(len(self._log.offsets) - 1)
        result = decode_from_server(last.frames)
        self._note_final_state(result, last.attempt, len(self._log.offsets))
        return final_state_of(result) is not None

    def _note_final_state(self, result: JobResult, attempt: int, sequence: int) -> None:
        state = final_state_of(result)
        if state is not None:
            os.fsync(self._file.fileno())
            final = FinalState(state=state, n_results=sequence, attempt=attempt)
            write_private(self.folder.path / "state.json", msgspec.json.encode(final))

    def _append(self, record: bytes) -> None:
        self._file.seek(self._log.end)
        left = memoryview(record)
        try:
            while left:
                left = left[self._file.write(left) :]
        except OSError:
            # The disk is full: make room again for a short last result that says so.
            self._file.truncate(self._log.end)
            raise

    def _log_path(self) -> Path:
        return self.folder.path / f"results-{self.attempt:04d}-{self.start:08d}.bin"

    def _diverge(self, sequence: int) -> None:
        """Go on in a new file that keeps the results before this one."""
        self._file.close()
        self._log.close()
        old = self._log
        self.attempt, self.start = self.attempt + 1, sequence
        with old.path.open("rb") as source:
            kept = source.read(old.offsets[sequence - 1])
        path = self._log_path()
        # Whole or not at all: a reader may look for the newest file at any moment.
        write_private(path, kept)
        with contextlib.suppress(OSError):  # Windows keeps files that a reader has open
            old.path.unlink()
        self._log = ResultLog(path)
        self._log.refresh()
        self._file = path.open("r+b", buffering=0)


def _numbered(result: JobResult, job_id: str, attempt: int, sequence: int) -> JobResult:
    return msgspec.structs.replace(result, job_id=job_id, attempt=attempt, sequence=sequence)


class JobStore(Closing):
    """The folder of all jobs. One supervisor at a time holds it."""

    def __init__(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.path = path
        self._lock = FileLock(path / "lock")
        if not self._lock.acquire(timeout_s=1.0):
            raise BlockingIOError(f"another server uses {path} already")

    def close(self) -> None:
        """Let another supervisor have the folder."""
        self._lock.close()

    def find(self, job_id: str) -> JobFolder | None:
        """Return the folder of a job that was submitted before, if it is still there."""
        folder = JobFolder(self.path / job_id)
        return folder if (folder.path / "job.json").exists() else None

    def create(self, job_id: str, job: Job, client: str) -> JobFolder:
        """Make the folder of a new job."""
        folder = JobFolder(self.path / job_id)
        folder.path.mkdir(mode=0o700, exist_ok=True)
        description = JobDescription(
            job_id=job_id, job=job, client=client, submitted_at=time.time()
        )
        write_private(folder.path / "job.json", msgspec.json.encode(description))
        return folder

    def prune(self, keep_days: float, keep_gigabytes: float, in_use: Collection[str]) -> list[str]:
        """Take old jobs away, the oldest first, except those in use; returns their identifiers.

        They are only renamed here, which is quick; `empty_trash` removes them.
        """
        jobs = []
        for path in self.path.iterdir():
            if path.is_dir() and path.name not in in_use and not path.name.startswith("trash-"):
                try:
                    files = [entry.stat() for entry in path.iterdir()]
                    changed = max((s.st_mtime for s in files), default=path.stat().st_mtime)
                except FileNotFoundError:
                    continue
                jobs.append((changed, sum(s.st_size for s in files), path))
        jobs.sort(reverse=True)
        oldest = time.time() - keep_days * 86400.0
        removed, total = [], 0
        for changed, size, path in jobs:
            total += size
            if changed < oldest or total > keep_gigabytes * 1e9:
                path.rename(path.with_name(f"trash-{path.name}-{time.time_ns()}"))
                removed.append(path.name)
        return removed

    def empty_trash(self) -> None:
        """Remove what `prune` took away. May take long: call it where nobody waits."""
        for path in self.path.glob("trash-*"):
            shutil.rmtree(path, ignore_errors=True)
