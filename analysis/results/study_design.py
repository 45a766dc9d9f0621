"""The study part of ``sweep.json``."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)


class StudyPoint(_Strict):
    """An arm in a study: its x value, and the arm it is compared with.

    ``x`` is None if the arm lacks the varied field; ``reference`` is None if no arm is comparable.
    """

    arm: str
    series: str
    x: float | str | None
    reference: str | None


class StudyDesign(_Strict):
    """The question, the names of x and of the reference, and the points in order."""

    question: str
    x: str
    reference: str
    points: tuple[StudyPoint, ...]

    @property
    def series(self) -> tuple[str, ...]:
        """The series of the points, in order."""
        return tuple(dict.fromkeys(point.series for point in self.points))
