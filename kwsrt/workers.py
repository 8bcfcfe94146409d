"""Work that several processes share, one of which may die without ending the others."""

from __future__ import annotations

import collections
import contextlib
import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")


def shared(work: Callable[[Job], Result], jobs: Sequence[Job], processes: int) -> Iterator[Result | None]:
    """What `work` makes of each job, in the order of the jobs; None where the process that did it died.

    With one process or one job it is done in this process. What `work` raises is raised here and ends the others.
    """
    most = min(processes, len(jobs))
    if most <= 1:
        yield from map(work, jobs)
        return
    waiting = collections.deque(enumerate(jobs))
    idle: list[_Worker[Job, Result]] = []
    busy: dict[Connection, tuple[_Worker[Job, Result], int]] = {}
    done: dict[int, Result | None] = {}
    try:
        for turn in range(len(jobs)):
            while turn not in done:
                while waiting and len(busy) < most:
                    worker = idle.pop() if idle else _Worker(work)
                    index, job = waiting.popleft()
                    busy[worker.connection] = worker, index
                    worker.start(job)
                for connection in wait(list(busy)):
                    assert isinstance(connection, Connection)
                    worker, index = busy.pop(connection)
                    try:
                        done[index] = worker.result()
                        idle.append(worker)
                    except EOFError:
                        done[index] = None
                        worker.end()
            yield done.pop(turn)
    finally:
        for worker in (*idle, *(worker for worker, _ in busy.values())):
            worker.end()


class _Worker(Generic[Job, Result]):
    """A process that does one job after the other."""

    def __init__(self, work: Callable[[Job], Result]) -> None:
        self.connection, other = multiprocessing.Pipe()
        self._process = multiprocessing.Process(target=_serve, args=(work, other, self.connection), daemon=True)
        # An interrupt meets the first process alone, which ends this one: the child is born deaf to it.
        usual = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self._process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, usual)
        other.close()

    def start(self, job: Job) -> None:
        """Hand over a job. That the process is dead is found out by `result`."""
        with contextlib.suppress(BrokenPipeError):
            self.connection.send(job)

    def result(self) -> Result:
        """What came of the job. Raises what the work raised, and EOFError where the process died."""
        try:
            result, error = self.connection.recv()
        except OSError as ended:  # in the middle of what it sent
            raise EOFError from ended
        if error is not None:
            raise error
        done: Result = result
        return done

    def end(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.join()
        self._process.close()
        self.connection.close()


def _serve(work: Callable[[Any], object], connection: Connection, other: Connection) -> None:
    """What a worker does until nobody sends jobs any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    other.close()
    while True:
        try:
            job = connection.recv()
        except EOFError:
            return
        answer: object = None
        failed: Exception | None = None
        try:
            answer = work(job)
        except Exception as error:
            failed = error
        connection.send((answer, failed))
