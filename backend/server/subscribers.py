"""The clients that are connected, and how much may be on its way to each."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from backend.server.live_job import LiveJob
from shared.codec import Buffer
from shared.messages import Acknowledge, Progress

WINDOW_RESULTS = 64
"""Results that may be on their way to a client without its acknowledgement."""

WINDOW_BYTES = 32 * 1024 * 1024
"""Size of the results that may be on their way; one result may always be."""

RESULTS_A_TURN = 8
"""Results that one client is sent before it is the next one's turn."""


@dataclass
class Subscription:
    """One client's interest in one job."""

    job: LiveJob
    next_result: int
    """Number of the result to send next."""

    in_flight: deque[tuple[int, int, int]] = field(default_factory=deque)
    """Attempt, number and size of each result that was not acknowledged."""

    told_progress: Progress | None = None
    """The progress that was sent last."""

    def attempt_changed(self) -> None:
        """Go back to the first result that a new attempt replaced."""
        self.next_result = min(self.next_result, self.job.start)

    def acknowledged(self, message: Acknowledge) -> None:
        """Make room for more results."""
        upto = (message.attempt, message.sequence)
        while self.in_flight and self.in_flight[0][:2] <= upto:
            self.in_flight.popleft()

    @property
    def has_work(self) -> bool:
        """Whether a result could be sent now."""
        if self.next_result > self.job.n_results:
            return False
        size = sum(entry[2] for entry in self.in_flight)
        return len(self.in_flight) < WINDOW_RESULTS and size < WINDOW_BYTES

    @property
    def is_over(self) -> bool:
        """Whether the client has everything that there will ever be."""
        sent = self.next_result > self.job.n_results
        return self.job.is_final and sent and not self.in_flight

    def send_some(self, send: Callable[[Sequence[Buffer]], bool]) -> bool:
        """Send results while there is room; returns False where the client cannot take them."""
        for _ in range(RESULTS_A_TURN):
            if not self.has_work:
                break
            record = self.job.read(self.next_result)
            if not send(record.frames):
                return False
            self.in_flight.append((record.attempt, self.next_result, record.size))
            self.next_result += 1
        return True


@dataclass
class Client:
    """One connection that has said hello."""

    identity: bytes
    """ZeroMQ's name for the connection."""

    name: str
    """What the client calls itself."""

    heard_at: float
    """When it last sent anything."""

    asked_at: float = 0.0
    """When it was last asked whether it lives."""

    subscriptions: dict[str, Subscription] = field(default_factory=dict)
    """Its jobs."""
