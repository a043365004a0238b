"""`CheckpointException`: what went wrong, by rank."""

from __future__ import annotations

from collections.abc import Mapping

from ...homes import settle

__all__ = ["CheckpointException"]


class CheckpointException(BaseException):
    """`failures`: {rank: what it raised, as text or as the error}."""

    def __init__(self, msg: str, failures: Mapping[int, BaseException | str]) -> None:
        super().__init__(msg, failures)
        self.msg, self._failures = msg, dict(failures)

    @property
    def failures(self) -> dict[int, BaseException | str]:
        """What went wrong, by rank."""
        return self._failures

    def __str__(self) -> str:
        return f"{self.msg}: " + "; ".join(f"rank {rank}: {error!r}" for rank, error in self._failures.items())


settle("distributed.checkpoint.api", globals())
