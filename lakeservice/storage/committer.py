"""The committer: many requests at once, one object of the log for all that are waiting."""

from __future__ import annotations

import hashlib
import random
import secrets
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

import msgspec

from lakeservice.storage.draft import Draft
from lakeservice.storage.mutations import normal
from schemas.commit import Applied, Commit, Create, Mutation, Request
from schemas.errors import ConflictError, ErrorKind, LakeError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from lakeservice.storage.commits import State
    from lakeservice.storage.lake import Lake

_PATIENT_LOSSES = 3
"""Races lost to other writers before a committer begins to wait between its attempts."""
_GIVE_UP_S = 30.0
"""How long a committer tries to get in between other writers."""
_APPLY_LINES = 10_000
"""Lines of the log that are applied at once when many commits have to be caught up with."""
_INTERRUPTED = (
    "the commit was interrupted, so it is not known whether it was made; "
    "repeat the request with the same idempotency key"
)


class Committer:
    """Commits requests to a lake and keeps a state up to date; for any number of threads.

    While one commit is being made durable, requests queue; the next commit
    takes all that have queued. There is no timer, so a lone writer never waits.

    Parameters
    ----------
    lake
        The lake to write to.
    state
        The tree as of some version; brought up to date here.
    window_s
        Wait so long for company before each commit; 0 does not wait.
    max_mutations
        Most mutations in one commit, unless a single request has more.
    listener
        Told of every commit after it was applied, ours and those of others, each once and
        in order, with the notes of our requests by their position in the commit. It runs
        while others wait, so it must be quick, and it may not raise.
    """

    def __init__(
        self,
        lake: Lake,
        state: State,
        *,
        window_s: float = 0.0,
        max_mutations: int = 20_000,
        listener: Callable[[Commit, Mapping[int, object]], None] | None = None,
    ) -> None:
        self._log = lake.log
        self._state = state
        self._window_s = window_s
        self._max_mutations = max_mutations
        self._listener = listener
        self._writer = secrets.token_hex(8)
        self._notes: dict[int, Mapping[int, object]] = {}
        self._mutex = threading.Lock()
        self._queue: deque[_Pending] = deque()
        self._leading = False
        self._closed = False
        self._idle = threading.Condition(self._mutex)
        self._applying = threading.Lock()

    def commit(
        self,
        mutations: Sequence[Mutation],
        *,
        key: str | None = None,
        principal: str | None = None,
        fingerprint: str | None = None,
        note: object = None,
    ) -> tuple[Applied, ...]:
        """Commit all mutations, or none of them, and return what they did.

        It is durable, and in the state, when this returns. Containers made for
        ``parents`` come before the node that needed them.

        Parameters
        ----------
        mutations
            Applied in order, each seeing the ones before.
        key
            Idempotency key: a request repeated with its key gets the first answer.
        principal
            Who asks; kept in the log.
        fingerprint
            What makes two requests with one key the same; by default a hash of the
            mutations without the ids that creation draws.
        note
            Handed to the listener with the commit; it is not kept in the log.

        Raises
        ------
        ConflictError
            ``path-taken``, ``revision-conflict``, ``not-empty``, ``parent-not-container``;
            ``idempotency-key-reused``: the key belongs to another request.
        NotFoundError
            ``node-not-found``: a node to change, or to hold a new one, is not there.
        InvalidRequestError
            ``bad-metadata``, ``bad-path``, ``bad-structure``, ``bad-request``, ``wrong-family``.
        UnavailableError
            ``store-full``, ``store-unavailable``, ``busy``.
        """
        cleaned = [normal(mutation) for mutation in mutations]
        if not cleaned:
            return ()
        if key is not None and fingerprint is None:
            fingerprint = fingerprint_of(cleaned, principal)
        request = Request(key=key, fingerprint=fingerprint, principal=principal)
        pending = _Pending(request, cleaned, note)
        if not self._enqueue(pending):
            self._wait(pending)
        if pending.leads:
            self._lead()
        return pending.result()

    def follow(self) -> int:
        """Apply what others have committed; return the version. One look-up if there is nothing."""
        version = self._state.version
        # Outside the lock, so that readers of a distant store do not queue for their look-ups.
        first = self._log.read(version + 1)
        if first is None:
            return version
        with self._applying:
            news = [first] if self._state.version == version else []
            lines = len(first.applied)
            for commit in self._log.follow(max(self._state.version, version + len(news))):
                if lines > _APPLY_LINES:
                    self._take_over(news)
                    news, lines = [], 0
                news.append(commit)
                lines += len(commit.applied)
            if news:
                self._take_over(news)
            return self._state.version

    def close(self) -> None:
        """Refuse further requests and wait for those under way."""
        with self._idle:
            self._closed = True
            self._idle.wait_for(lambda: not self._leading)

    def _enqueue(self, pending: _Pending) -> bool:
        """Queue a request; tell whether its own thread has to commit the queue."""
        with self._mutex:
            if self._closed:
                raise UnavailableError(ErrorKind.BUSY, "the server is shutting down; try later")
            self._queue.append(pending)
            if self._leading:
                return False
            self._leading = pending.leads = True
            return True

    def _wait(self, pending: _Pending) -> None:
        """Wait for an answer or for the lead; when interrupted, leave nobody waiting for us."""
        try:
            pending.woken.wait()
        except BaseException:
            with self._mutex:
                if pending in self._queue and not pending.leads:
                    self._queue.remove(pending)
            if pending.leads and not pending.answered:
                self._lead()
            raise

    def _lead(self) -> None:
        """Commit one batch, then hand the lead to whoever has queued meanwhile."""
        batch: list[_Pending] = []
        try:
            if self._window_s:
                time.sleep(self._window_s)
            batch = self._take()
            self._commit(batch)
        except LakeError as error:
            _fail(batch, error)
        finally:
            _fail(batch, UnavailableError(ErrorKind.BUSY, _INTERRUPTED))
            with self._idle:
                self._leading = bool(self._queue)
                if self._queue:
                    self._queue[0].leads = True
                    self._queue[0].woken.set()
                else:
                    self._idle.notify_all()

    def _take(self) -> list[_Pending]:
        """Take from the queue what fits into one commit; a key that is in already waits."""
        batch: list[_Pending] = []
        keys: set[str] = set()
        room = self._max_mutations
        with self._mutex:
            while self._queue:
                first = self._queue[0]
                key = first.request.key
                if batch and (len(first.mutations) > room or key in keys):
                    break
                if key is not None:
                    keys.add(key)
                room -= len(first.mutations)
                batch.append(self._queue.popleft())
        return batch

    def _commit(self, batch: list[_Pending]) -> None:
        """Find the answer to every request of a batch, against the newest state."""
        losses, give_up = 0, time.monotonic() + _GIVE_UP_S
        while True:
            version = self._state.version
            draft = Draft(self._state, version + 1, time.time_ns())
            refused = self._fill(draft, batch)
            if refused and self.follow() != version:
                continue
            commit = draft.commit(self._writer)
            if not commit.applied:
                break
            # Whoever follows the log may apply the commit before its own thread comes to it.
            self._notes[commit.version] = _notes(batch, commit.version)
            try:
                if self._log.put(commit):
                    self._apply(commit)
                    break
            finally:
                self._notes.pop(commit.version, None)
            losses += 1
            self.follow()
            if time.monotonic() > give_up:
                raise UnavailableError(
                    ErrorKind.BUSY, f"{losses} commits of other writers came first; try again"
                )
            if losses > _PATIENT_LOSSES:
                time.sleep(random.uniform(0, 0.001 * losses))
        for pending in batch:
            pending.answer()

    def _fill(self, draft: Draft, batch: list[_Pending]) -> bool:
        """Put what can be done into the draft; tell whether something was refused."""
        draft.prefetch(mutation for pending in batch for mutation in pending.mutations)
        refused = False
        for pending in batch:
            try:
                applied = self._answered(pending.request)
                if applied is None:
                    applied = draft.add(pending.request, pending.mutations)
                pending.outcome = applied
            except LakeError as error:
                pending.outcome = error
                refused = True
        return refused

    def _answered(self, request: Request) -> tuple[Applied, ...] | None:
        """Return the first answer to a request that was made before; None if it was not."""
        if request.key is None:
            return None
        version = self._state.answered_in(request.key)
        if version is None:
            return None
        commit = self._log.read(version)
        for position, first in enumerate(() if commit is None else commit.requests):
            if commit is not None and first.key == request.key:
                if first.fingerprint != request.fingerprint:
                    raise ConflictError(
                        ErrorKind.KEY_REUSED,
                        f"idempotency key {request.key!r} belongs to another request; "
                        "use a new key for each request",
                    )
                return tuple(line for line in commit.applied if line.request == position)
        raise ConflictError(
            ErrorKind.KEY_REUSED,
            f"idempotency key {request.key!r} was answered in version {version}, "
            "which the lake no longer keeps; use a new key",
        )

    def _apply(self, commit: Commit) -> None:
        with self._applying:
            # Somebody who followed the log may have applied it a moment ago.
            if self._state.version < commit.version:
                self._take_over([commit])

    def _take_over(self, commits: Sequence[Commit]) -> None:
        self._state.apply(commits)
        if self._listener is not None:
            for commit in commits:
                own = commit.writer == self._writer
                self._listener(commit, self._notes.get(commit.version, {}) if own else {})


class _Pending:
    """A request that waits for its answer, or for its turn to commit for all."""

    def __init__(self, request: Request, mutations: list[Mutation], note: object = None) -> None:
        self.request = request
        self.mutations = mutations
        self.note = note
        self.woken = threading.Event()
        self.leads = False
        self.answered = False
        self.outcome: tuple[Applied, ...] | LakeError = ()

    def answer(self) -> None:
        """Let the request's own thread go on with the outcome."""
        self.answered = True
        self.woken.set()

    def result(self) -> tuple[Applied, ...]:
        """Return the outcome, or raise it."""
        if isinstance(self.outcome, LakeError):
            raise self.outcome
        return self.outcome


def fingerprint_of(mutations: Sequence[Mutation], principal: str | None = None) -> str:
    """Return a hash of a request that stays the same when its nodes are given other ids."""
    digest = hashlib.blake2b((principal or "").encode(), digest_size=16)
    encoder = msgspec.json.Encoder()
    for mutation in mutations:
        encoded = encoder.encode(mutation)
        if isinstance(mutation, Create):
            encoded = encoded.replace(mutation.node.id.encode(), b"")
        digest.update(len(encoded).to_bytes(8, "little") + encoded)
    return digest.hexdigest()


def _notes(batch: list[_Pending], version: int) -> dict[int, object]:
    """Return the notes of a batch by the position that each request has in its commit."""
    notes: dict[int, object] = {}
    for pending in batch:
        lines = pending.outcome
        new = isinstance(lines, tuple) and lines and lines[0].version == version
        if new and pending.note is not None and isinstance(lines, tuple):
            notes[lines[0].request] = pending.note
    return notes


def _fail(batch: list[_Pending], error: LakeError) -> None:
    for pending in batch:
        if not pending.answered:
            pending.outcome = type(error)(error.kind, error.message)
            pending.answer()
