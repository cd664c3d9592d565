"""What a notebook of the book calls: check parameters, find records, show tables and figures.

A notebook holds no logic. It begins with `view = page.start(name, globals())` after its parameters
cell, so that a misspelt parameter is refused also where papermill itself only warns. What one page
alone needs it imports itself, so that its imports say what it is made by.
"""

import contextlib
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cached_property
from typing import Any

import pandas as pd

from book.companion.drawing import to_svg
from book.companion.pages.catalogue import (
    Parameters,
    Specification,
    check_parameters,
    specification_of,
)
from book.companion.pages.footer import footer_markdown
from book.companion.pages.runs import find_runs
from book.companion.papers.dreal import TABLE_1
from book.companion.text.differences import unpaired_sentences
from book.companion.text.foreign import as_csv, block
from book.companion.text.runs import missing_runs, runs_sentence
from book.companion.text.tables import Origin, Table, ranges_text
from dreal_lib.comparison.rows import Row, compare_scale, scales_of, split
from dreal_lib.records import StoredRecord

CSV_DIGITS = 6  # of the numbers behind a figure; more than float32 holds reliably would be noise


def start(
    name: str, namespace: Mapping[str, object], compare: Callable[..., Any] | None = None
) -> "Page":
    """Begin a page: check its parameters, find its records.

    Args:
        name: Name of the notebook, e.g. "table_1".
        namespace: `globals()` of the notebook, right after its parameters cell: whatever is set
            there is a parameter, so that an unknown name is noticed.
        compare: How runs are sorted into rows: a function of records, profile and variant to a
            comparison. A page about one network needs none: its baseline and reinforced runs.

    Raises:
        UserError: A bad parameter, or a record that cannot be trusted; one line.
    """
    spec = specification_of(name)
    parameters = check_parameters(name, _parameters_of(namespace))
    if not spec.rows:
        return Page(spec, parameters, (), compare)
    page = _with_runs(spec, parameters, compare)
    if parameters.results == "rerun" and all(run.origin == "recorded" for run in page.runs):
        own = {"network": parameters.network} if spec.about_one_network else {}
        page = _with_runs(spec, check_parameters(name, own), compare)
        _markdown(not_run_again(parameters, page.parameters))
    return page


def _with_runs(
    spec: Specification, parameters: Parameters, compare: Callable[..., Any] | None
) -> "Page":
    runs = find_runs(parameters, spec.read(parameters.network))
    page = Page(spec, parameters, tuple(runs), compare)
    _ = page.comparison  # refuses seeds that are not alike before anything is shown
    return page


def not_run_again(asked: Parameters, shown: Parameters) -> str:
    """The banner of a page that shows the committed records, as no run of its own was made.

    Args:
        asked: What it was given.
        shown: What it shows in place of it.
    """
    every = ", every set" if shown.every_variant else ""
    return (
        f":::{{note}}\nNot run again: of what this page shows there is no run of this machine at "
        f"scale {asked.scale}. It shows the committed records (●), at scale {shown.scale}{every}."
        "\n:::"
    )


def _parameters_of(namespace: Mapping[str, object]) -> dict[str, object]:
    """What the notebook itself has set: neither modules nor what IPython puts there."""
    hidden: Mapping[str, object] = {}
    with contextlib.suppress(ImportError):
        from IPython import get_ipython

        hidden = getattr(get_ipython(), "user_ns_hidden", {})
    return {
        name: value
        for name, value in namespace.items()
        if not name.startswith("_")
        and name not in hidden
        and not isinstance(value, types.ModuleType)
    }


@dataclass(frozen=True)
class Page:
    """One page with its parameters and the runs it may show.

    Attributes:
        spec: Of the notebook.
        parameters: Checked.
        stored: Runs of every scale, of the rows that the page reads.
        compare: See `start`.
    """

    spec: Specification
    parameters: Parameters
    stored: tuple[StoredRecord, ...]
    compare: Callable[..., Any] | None = None

    @cached_property
    def comparison(self) -> Any:
        """The runs at the scale of this page, sorted into the rows of its table."""
        every = {"every": True} if self.parameters.every_variant else {}
        return self._at(self.parameters.profile, self.parameters.variant, **every)

    @cached_property
    def other_scales(self) -> list[Any]:
        """The same for every other named scale that there are runs of."""
        found = [
            self._at(profile, variant)
            for profile, variant in scales_of(self.stored)
            if not self.parameters.covers(profile, variant)
            # Of hand-made overrides no two runs need be alike.
            and not (variant or "").startswith("custom")
        ]
        return [comparison for comparison in found if comparison.runs]

    def _at(self, profile: str, variant: str | None, **more: bool) -> Any:
        if self.compare is not None:
            return self.compare(self.stored, profile, variant, **more)
        table = self.spec.rows[0].partition("/")[0]
        label = {self.parameters.network: TABLE_1[self.parameters.network].label}
        return compare_scale(self.stored, profile, variant, table=table, networks=label)

    @property
    def rows(self) -> list[Row]:
        """The rows of this page; of a page about one network those that it names."""
        if not self.spec.about_one_network:
            return self.comparison.rows
        shown = self.spec.shown(self.parameters.network)
        rows = self.comparison.rows
        return [row for row in rows if any(fnmatch(row.recipe, pattern) for pattern in shown)]

    @property
    def runs(self) -> list[StoredRecord]:
        """The runs that this page is made of; where it is about a pair of rows, those of both."""
        if self.spec.about_one_network and len(self.rows) == 2:
            return [run for runs in self.pair() for run in runs]
        return [run for row in self.rows for run in row.runs]

    @property
    def origin(self) -> Origin:
        """Where the runs come from; without any it marks nothing."""
        return self.runs[0].origin if self.runs else "recorded"

    def pair(self) -> tuple[list[StoredRecord], list[StoredRecord]]:
        """Baseline and reinforced runs of the page's network, seed by seed; empty if not run."""
        return split(self.comparison.networks[0].pairs)

    def show(self, table: Table, caption: str, label: str) -> None:
        """Show a numbered table with its caption, and what its marks mean.

        Args:
            table: What to show; of one without a row it is said that there are no numbers.
            caption: One paragraph.
            label: What `{numref}` finds it by.
        """
        if not table.rows:
            self.say("No run for this table is on record.")
            return
        legend = table.legend()
        caption = " ".join(caption.split())
        _markdown(
            f":::{{table}} {caption}\n:name: {label}\n\n{table.to_markdown()}\n\n:::\n"
            + (f"\n{legend}\n" if legend else "")
        )

    def figure(
        self,
        draw: Callable[[Any], object],
        data: Any,
        *,
        caption: str,
        alt: str | Callable[[Any], str],
        label: str,
        numbers: Callable[[Any], pd.DataFrame] | None = None,
        ranges: Mapping[str, str] | None = None,
        optional: bool = False,
    ) -> None:
        """Show a figure, or in its place how to make the run that it lacks.

        Args:
            draw: A function from the data to a figure.
            data: What it draws; None, or something empty, if there is no run.
            caption: One paragraph; `{data}` in it, or `{data.seed}`, is filled in.
            alt: What a reader who does not see the figure needs to know; filled in likewise, or a
                function from the data to it.
            label: What `{numref}` finds it by.
            numbers: A function from the data to the numbers drawn, for the reader to take away
                as CSV (`book.companion.text.tables`); None if the data are a table of them.
            ranges: Columns of these numbers whose ranges `alt` ends with, and their names.
            optional: Without data nothing is shown at all.
        """
        if data is None or (hasattr(data, "__len__") and len(data) == 0):
            if not optional:
                self.missing()
            return
        table = data if numbers is None else numbers(data)
        caption = caption.format(data=data)
        said = alt(data) if callable(alt) else alt.format(data=data)
        alt = said + ranges_text(table, ranges or {})
        bundle = {
            "image/svg+xml": to_svg(draw(data)),
            "text/plain": alt,
            "text/csv": as_csv(table, CSV_DIGITS),
        }
        _display(
            bundle,
            {
                "mystnb": {
                    "figure": {"caption": " ".join(caption.split()), "name": label},
                    # The figure's ink follows the theme; the theme need not adapt it.
                    "image": {"alt": alt, "classes": "dark-light"},
                }
            },
        )

    def describe(self) -> None:
        """Say which runs a page about one network shows."""
        label = self.comparison.networks[0].label
        self.say(runs_sentence(label, self.runs, self.parameters.scale))

    def say(self, sentences: str | Sequence[str]) -> None:
        """Show sentences, several as a list without the empty ones; never silently nothing."""
        if isinstance(sentences, str):
            _markdown(sentences)
        else:
            said = [f"- {sentence}" for sentence in sentences if sentence]
            _markdown("\n".join(said) or "No such run is on record: nothing can be said.")

    def missing(self) -> None:
        """Say which runs this page lacks, with the commands that make them, and what is no pair.

        Without either, nothing.
        """
        data_root = str(self.parameters.data_root or "DATA")
        shown = {row.recipe for row in self.rows}
        commands = [
            command
            for part in self.comparison.parts
            for command in missing_runs(part, self.parameters.seeds, data_root, shown)
        ]
        pairs = [pair for part in self.comparison.parts for pair in part.networks]
        if unpaired := unpaired_sentences(pairs):
            self.say(unpaired)
        if commands:
            _markdown(
                f"Not run at scale {self.parameters.scale}; each command makes one run "
                f"(DATA: the prepared images):\n\n{block(commands)}"
            )

    def footer(self, runs: Sequence[StoredRecord] | None = None) -> None:
        """Show how the page was made: command, records, recipes, commit, data, time, hardware.

        Args:
            runs: Those that the numbers come from, if they are not `self.runs`.
        """
        if not self.spec.rows:
            found, stopped = [], []
        elif runs is not None:
            found, stopped = runs, []
        else:
            found, stopped = self.runs, [run for row in self.rows for run in row.stopped]
        _markdown(footer_markdown(self.spec, self.parameters, found, stopped))

    def glue(self, name: str, text: str) -> None:
        """Keep a text for other pages of the book to quote.

        They do so with the role `glue:text` and `notebooks/PAGE.ipynb::PAGE_NAME:s`.
        """
        from myst_nb import glue

        glue(f"{self.spec.name}_{name}", text, display=False)


def _markdown(text: str) -> None:
    # Plain CommonMark, which myst-nb reads otherwise, has no tables.
    bundle = {"text/markdown": text, "text/plain": text}
    _display(bundle, {"mystnb": {"markdown_format": "myst"}})


def _display(bundle: dict[str, str], metadata: Mapping[str, object]) -> None:
    from IPython.display import display

    display(bundle, metadata=dict(metadata), raw=True)
