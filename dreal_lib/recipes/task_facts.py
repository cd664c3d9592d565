"""What a task says of itself, as data: what decides a run, what is measured, what is kept of it.

A task is a file beside this one, which declares its `TaskFacts`, and a file of the same name in
`dreal_lib.tasks`, which trains and judges. Nothing else knows tasks by name: histories, records,
the command line, comparisons and batches ask `task_facts`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, create_model

from dreal_lib.errors import UserError, unknown_choice
from dreal_lib.recipes.schema import Recipe
from dreal_lib.runtime.environment import Line

FIRST_TASK = "classification"  # of rows, weights and records that name no task

_BEFORE = ("epoch", "learning_rate", "classification_loss")
_AFTER = ("quality_loss", "regression_loss", "train_top1_error_pct")
_COSTS = ("wall_seconds", "images_per_second")

Percent = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True)
class Metric:
    """One number by which a network is judged.

    Attributes:
        name: In histories and records, e.g. "top1_error_pct"; per cent end in "_pct".
        title: For a reader, e.g. "top-1 error".
        better: Which direction is.
        shown: In the line that a run prints after an epoch.
    """

    name: str
    title: str
    better: Literal["lower", "higher"]
    shown: bool = False

    @property
    def unit(self) -> str:
        """ "%", or "" for a number without."""
        return "%" if self.name.endswith("_pct") else ""

    def text(self, value: float) -> str:
        """For the terminal, e.g. "top-1 error 22.15 %"."""
        return f"{self.title} {value:.2f} %" if self.unit else f"{self.title} {value:.4f}"


class Frozen(BaseModel):
    """A part of a record: not to be changed, and without a field that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class DataFacts(Frozen):
    """The images of a run; each task adds what it counts."""

    name: Line
    fingerprint: Annotated[str, Field(pattern=r"^[0-9a-f]+$")]
    train_images: int = Field(ge=0)

    @property
    def decided(self) -> frozenset[str]:
        """Metrics whose value is known before these images are looked at; nobody is told them."""
        return frozenset()

    @property
    def text(self) -> str:
        """The counts in a phrase, for the foot of a page."""
        raise NotImplementedError


class Result(Frozen):
    """A network's metrics after an epoch (from 1); `TaskFacts.result` has a field for each."""

    epoch: int = Field(ge=0)


@dataclass(frozen=True)
class TaskFacts:
    """A task, as data.

    Attributes:
        recipe: What decides a run; its `task` is the task's name.
        metrics: What `validate` measures, in the order of the history's columns.
        best: The metric that decides which epoch was best.
        data: What a record says of the images.
        parts: Names of what L_c is the sum of, if of several.
        rendered: The set of `dreal prepare` that is rendered for it.
        found_in: Files or folders, of which a prepared set for this task has one and sets for
            others have none; empty for class folders, which are what is left.
        pair: The two rows that a quick batch trains.
        code: The module whose `open_task` makes a `dreal_lib.tasks.task.Task` of a recipe; by
            default the one of the task's name.
    """

    recipe: type[Recipe]
    metrics: tuple[Metric, ...]
    best: str
    data: type[DataFacts]
    parts: tuple[str, ...] = ()
    rendered: str = ""
    found_in: tuple[str, ...] = ()
    pair: tuple[str, ...] = ()
    code: str = ""

    @property
    def name(self) -> str:
        return self.recipe.task

    @property
    def module(self) -> str:
        """Where `open_task` is."""
        return self.code or f"dreal_lib.tasks.{self.name}"

    @property
    def metric_names(self) -> tuple[str, ...]:
        return tuple(metric.name for metric in self.metrics)

    @property
    def history_columns(self) -> tuple[str, ...]:
        """Of the history's CSV, a row an epoch."""
        return (*_BEFORE, *self.parts, *_AFTER, *self.metric_names, *_COSTS)

    @property
    def result(self) -> type[Result]:
        """The metrics of an epoch, as a record holds them."""
        return _result_type(self)

    def best_of(self, results: Sequence[Result]) -> Result:
        """The best epoch; of equal ones the first."""
        choose = min if self.metric(self.best).better == "lower" else max
        return choose(results, key=lambda result: getattr(result, self.best))

    def metric(self, name: str) -> Metric:
        """One of the metrics.

        Raises:
            UserError: The task has no such metric.
        """
        for metric in self.metrics:
            if metric.name == name:
                return metric
        raise unknown_choice(f"metric of {self.name}", name, self.metric_names)


@cache
def _result_type(facts: TaskFacts) -> type[Result]:
    fields = {metric.name: (Percent if metric.unit else NonNegative) for metric in facts.metrics}
    return create_model(f"{facts.name.title()}Result", __base__=Result, **fields)


TASKS: dict[str, TaskFacts] = {}  # by name; filled as `dreal_lib.recipes` is imported


def declare(facts: TaskFacts) -> TaskFacts:
    """Makes a task known.

    Raises:
        UserError: There is a task of this name, or one that means something else by a metric's.
    """
    if facts.name in TASKS:
        raise UserError(f"there is a task {facts.name!r} already; give yours another name")
    known = {metric.name: metric for task in TASKS.values() for metric in task.metrics}
    for metric in facts.metrics:
        if known.get(metric.name, metric) != metric:
            raise UserError(
                f"metric {metric.name!r} of {facts.name} is {metric.title!r}, and another task's "
                f"is {known[metric.name].title!r}; give it a name of its own"
            )
    facts.metric(facts.best)
    TASKS[facts.name] = facts
    return facts


def task_facts(name: str) -> TaskFacts:
    """A task by its name.

    Raises:
        UserError: It lists the tasks that there are.
    """
    if not isinstance(name, str) or name not in TASKS:
        raise unknown_choice("task", name, TASKS)
    return TASKS[name]


def metric(name: str) -> Metric:
    """A metric of any task by its name, which means the same in all.

    Raises:
        UserError: It lists the metrics that there are.
    """
    known = {metric.name: metric for facts in TASKS.values() for metric in facts.metrics}
    if name not in known:
        raise unknown_choice("metric", name, known)
    return known[name]
