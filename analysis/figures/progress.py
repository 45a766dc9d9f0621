"""How prediction difference develops while the models are trained."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from analysis.figures.style import Look, blank, looks
from analysis.prediction_difference import relative_pd
from analysis.results import SweepResults, Trials

Floats = NDArray[np.float64]

#: Room between two names at the right edge, as a share of the height.
LINE_HEIGHT = 0.045


@dataclass(frozen=True, kw_only=True, slots=True)
class Course:
    """The relative PD of one arm after so many examples, ``(P,)`` each."""

    name: str
    examples: Floats
    relative_pd: Floats


def progress(sweep: SweepResults) -> Figure | None:
    """Draw relative PD between replicas against the number of examples trained on.

    The PD is that of the examples watched throughout, a part of the evaluation examples. None
    where no arm has two finished replicas that kept their predictions on the way.
    """
    courses = [course for arm in sweep.arms if (course := course_of(arm)) is not None]
    if not courses:
        return None
    figure, axes = blank(7.2, 4.6)
    look = looks([each.name for each in courses])
    for course in courses:
        _draw(axes, course, look[course.name])
    axes.set_xlabel("examples trained on")
    axes.set_ylabel("relative prediction difference, %")
    axes.set_title("Prediction difference through the stream")
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    _name_at_the_end(axes, courses, look)
    return figure


def course_of(trials: Trials) -> Course | None:
    """Return the course of an arm; None where fewer than two replicas kept their predictions."""
    points = trials.read_progress()
    if len(trials.done) < 2 or not points:
        return None
    return Course(
        name=trials.name,
        examples=np.array(list(points), np.float64),
        relative_pd=np.array(
            [relative_pd(1.0 / (1.0 + np.exp(-logits))) for logits in points.values()]
        ),
    )


def _draw(axes: Axes, course: Course, look: Look) -> None:
    axes.plot(
        course.examples,
        100.0 * course.relative_pd,
        color=look.colour,
        linestyle=look.dash,
        marker=look.marker,
        markersize=4,
        linewidth=1.1,
    )


def _name_at_the_end(axes: Axes, courses: list[Course], look: dict[str, Look]) -> None:
    """Write each name right of where its line ends, pushed apart where lines end together."""
    top = axes.get_ylim()[1]
    ordered = sorted(courses, key=lambda course: course.relative_pd[-1])
    ends = np.array([100.0 * course.relative_pd[-1] for course in ordered])
    places = spread_apart(ends, LINE_HEIGHT * top)
    for course, end, place in zip(ordered, ends, places, strict=True):
        axes.annotate(
            course.name,
            (course.examples[-1], end),
            xytext=(1.04, place / top),
            textcoords="axes fraction",
            va="center",
            fontsize=7.5,
            arrowprops={
                "arrowstyle": "-",
                "color": look[course.name].colour,
                "lw": 0.6,
                "relpos": (0.0, 0.5),
            },
            annotation_clip=False,
        )


def spread_apart(places: Floats, gap: float) -> Floats:
    """Return rising ``places`` moved as little as needed to be ``gap`` apart, none below 0.

    Least squares under the order: the mean of each cluster that touches stays where it was.
    """
    steps = gap * np.arange(len(places))
    levels: list[list[float]] = []
    for value in places - steps:
        levels.append([value])
        while len(levels) > 1 and np.mean(levels[-2]) > np.mean(levels[-1]):
            levels[-2:] = [levels[-2] + levels[-1]]
    settled = np.concatenate([np.full(len(level), np.mean(level)) for level in levels])
    return np.asarray(np.maximum(settled, 0.0) + steps, np.float64)
