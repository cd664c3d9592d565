"""What a notebook of the book calls: check parameters, find records, show tables and figures.

A notebook holds no logic. It begins with `view = page.start(name, globals())` after its parameters
cell, so that a misspelt parameter is refused also where papermill itself only warns.
"""

import contextlib
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pandas as pd

from book.companion.critics import curves
from book.companion.critics import text as curve_text
from book.companion.pages.catalogue import PAGES, Parameters, check_parameters
from book.companion.pages.execute import execute_notebook as execute_notebook
from book.companion.pages.footer import footer_markdown, footer_without_runs
from book.companion.pages.runs import find_runs, rows_of_page
from book.companion.results import ablations, retrieval_rows, table_1, table_2, table_3
from book.companion.text import runs as verdicts
from book.companion.text.tables import Table
from dreal_lib.comparison import rows as compare
from dreal_lib.records import StoredRecord

if TYPE_CHECKING:
    from book.companion.attended.ranked_lists import Shown
    from book.companion.results.costs import Costs
    from book.companion.schematic.plan import Schematic

# How a page sorts the runs of one scale into rows, where it is not into those of Table 1.
COMPARE = {
    "table_3": table_3.compare_stages,
    "ablations": ablations.compare_changes,
    "table_2": retrieval_rows.compare_sets,
    "retrieval": retrieval_rows.compare_sets,
}

CSV_DIGITS = 6  # of the numbers behind a figure; more than float32 holds reliably would be noise


def start(name: str, namespace: Mapping[str, object]) -> "Page":
    """Begin a page: check its parameters, find its records.

    Args:
        name: Name of the notebook, e.g. "table_1".
        namespace: `globals()` of the notebook, right after its parameters cell: whatever is set
            there is a parameter, so that an unknown name is noticed.

    Raises:
        UserError: A bad parameter, or a record that cannot be trusted; one line.
    """
    parameters = check_parameters(name, _parameters_of(namespace))
    runs = find_runs(parameters) if "records_root" in PAGES[name] else []
    page = Page(name, parameters, tuple(runs))
    _ = page.comparison  # refuses seeds that are not alike before anything is shown
    return page


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
        name: Of the notebook.
        parameters: Checked.
        stored: Runs of every scale.
    """

    name: str
    parameters: Parameters
    stored: tuple[StoredRecord, ...]

    @cached_property
    def comparison(self) -> compare.ScaleComparison | retrieval_rows.SetsComparison:
        """The runs at the scale of this page, sorted into the rows of its table."""
        if self.parameters.every_variant:
            return retrieval_rows.compare_sets(
                self.stored, self.parameters.profile, None, every=True
            )
        return self._compare(self.parameters.profile, self.parameters.variant)

    def _compare(
        self, profile: str, variant: str | None
    ) -> compare.ScaleComparison | retrieval_rows.SetsComparison:
        return COMPARE.get(self.name, table_1.compare_networks)(self.stored, profile, variant)

    @cached_property
    def other_scales(self) -> list[compare.ScaleComparison | retrieval_rows.SetsComparison]:
        """The same for every other named scale that there are runs of."""
        return [
            self._compare(profile, variant)
            for profile, variant in compare.scales_of(self.stored)
            if not self.parameters.covers(profile, variant)
            # Of hand-made overrides no two runs need be alike.
            and not (variant or "").startswith("custom")
        ]

    @property
    def runs(self) -> list[StoredRecord]:
        """The runs that this page is made of."""
        if not self._about_one_network:
            return self.comparison.runs
        rows = self._network_rows
        if len(rows) == 1:
            return list(rows[0].runs)
        return [run for runs in self.pair() for run in runs]

    def pair(self) -> tuple[list[StoredRecord], list[StoredRecord]]:
        """Baseline and reinforced runs of the page's network, seed by seed; empty if not run."""
        network = self._network
        if not network.pairable:
            return [], []
        shared = set(network.baseline.seeds) & set(network.reinforced.seeds)
        return tuple(  # both are sorted by seed
            [run for run in row.runs if run.record.seed in shared]
            for row in (network.baseline, network.reinforced)
        )

    @property
    def _network_rows(self) -> list[compare.Row]:
        """What a page about one network shows; of Fig. 6, which is about critics, one row."""
        shown = rows_of_page(self.name, self.parameters.network)
        network = self._network
        return [row for row in (network.baseline, network.reinforced) if row.recipe in shown]

    @property
    def _about_one_network(self) -> bool:
        return "network" in PAGES[self.name]

    @property
    def _network(self) -> compare.NetworkComparison:
        wanted = self.parameters.network
        return next(n for n in self.comparison.networks if n.network == wanted)

    def blocks(self) -> pd.DataFrame:
        """Block curves of the page's network, all seeds, with a column `seed`; empty without runs.

        Raises:
            UserError: A damaged file.
        """
        curves = [pd.DataFrame(run.blocks()).assign(seed=run.record.seed) for run in self.runs]
        return pd.concat(curves, ignore_index=True) if curves else pd.DataFrame()

    def costs(self) -> dict[str, table_1.NetworkCosts]:
        """What the six networks cost, counted now."""
        from dreal_lib.diagnosis.complexity import table_1_costs

        return {
            network.network: table_1_costs(network.network) for network in self.comparison.networks
        }

    def schematic(self) -> "Schematic":
        """The page's network and its critics, read now; for Fig. 1.

        Raises:
            UserError: An image size for which the network has no attention.
        """
        from book.companion.schematic.plan import describe

        return describe(self.parameters.network, self.parameters.image_size)

    def benchmarks(self) -> "tuple[Costs, dict[str, float], dict, dict[str, float]]":
        """The benchmark of a step, other ratios, input, the soak test; for the page on cost.

        Raises:
            UserError: A benchmark is missing or cannot be read.
        """
        from book.companion.results.costs import read_costs, read_input, read_ratios, read_soak

        folder = self.parameters.benchmarks_root
        readers = (read_costs, read_ratios, read_input, read_soak)
        return tuple(read(folder) for read in readers)

    def show(self, table: Table, caption: str, label: str) -> None:
        """Show a numbered table with its caption, and what its marks mean.

        Args:
            table: What to show.
            caption: One paragraph.
            label: What `{numref}` finds it by.
        """
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
        alt: str,
        label: str,
        numbers: Callable[[Any], pd.DataFrame] | None = None,
    ) -> None:
        """Show a figure, or in its place how to make the run that it lacks.

        Args:
            draw: A function from the data to a figure.
            data: What it draws; None, or something empty, if there is no run.
            caption: One paragraph.
            alt: What a reader who does not see the figure needs to know.
            label: What `{numref}` finds it by.
            numbers: A function from the data to the numbers drawn, for the reader to take away
                as CSV (`book.companion.text.tables`); None if the data are a table of them.
        """
        if data is None or (hasattr(data, "__len__") and len(data) == 0):
            self.missing()
            return
        from book.companion import drawing as figures

        drawing = figures.to_svg(draw(data))
        table = data if numbers is None else numbers(data)
        bundle = {
            "image/svg+xml": drawing,
            "text/plain": alt,
            "text/csv": table.to_csv(index=False, float_format=f"%.{CSV_DIGITS}g"),
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

    def show_query(self, shown: "Shown | None", label: str) -> None:
        """Show a query's ranked lists; nothing where there is none, which the page says once."""
        if shown is None:
            return
        from book.companion.attended import ranked_lists
        from book.companion.attended.ranked_figure import draw_query

        caption, alt = ranked_lists.caption(shown), ranked_lists.alt_text(shown)
        numbers = ranked_lists.of_query
        self.figure(draw_query, shown, caption=caption, alt=alt, label=label, numbers=numbers)

    def show_curves(self, blocks: pd.DataFrame) -> None:
        """Show the numbers behind Fig. 6."""
        if blocks.empty:
            self.say("No run, no numbers.")
            return
        table = curves.curve_table(
            curves.summarise_curves(blocks), self.runs[0].origin, self.parameters.scale
        )
        self.show(table, curves.CURVE_TABLE_CAPTION, "tab-curves")

    def show_critics(self) -> None:
        """Show how good the critics of each ablation are, and what they judged, by stage."""
        errors = ablations.critic_error_table(self.comparison)
        rewards = ablations.critic_reward_table(self.comparison)
        self.show(errors, ablations.ERRORS_CAPTION, "tab-critic-errors")
        self.show(rewards, ablations.REWARDS_CAPTION, "tab-critic-rewards")

    def say_depth(self) -> None:
        """Say whether critics and attention do better in deep stages."""
        self.say(ablations.depth_sentences(self.comparison))

    def say_what_acted(self) -> None:
        """Say of the page's runs which parts of the method did nothing: critics, attention."""
        from book.companion.attention_maps import shut
        from book.companion.critics import text as critic_text

        critics = (
            critic_text.recurrence_of_runs(self.runs),
            critic_text.silence_of_runs(self.runs),
        )
        sentences = [*filter(None, critics), *shut.shut_sentences(self.comparison)]
        self.say(sentences or "Nothing yet: no reinforced run at this scale.")

    def show_other_scales(self) -> None:
        """Show what was run at other scales than this page's."""
        others = [comparison for comparison in self.other_scales if comparison.runs]
        if not others:
            self.say(f"No run at another scale than {self.parameters.scale} is on record.")
            return
        # Labels are the book's: with runs of one's own, several pages may show such a table.
        label = f"tab-{self.name.replace('_', '-')}-other-scales"
        if self.name == "table_2":
            self.show(table_2.overview(others), table_2.OVERVIEW_CAPTION, label)
            return
        captions = " ".join(verdicts.scale_facts(comparison) for comparison in others)
        caption = f"Top-1 error of the last epoch at other scales. {captions}"
        self.show(table_1.overview(others), caption, label)
        self.say(
            [
                f"Scale {comparison.scale}. {table_1.verdicts(comparison)[0]}"
                for comparison in others
            ]
        )

    def say_curves(self, blocks: pd.DataFrame) -> None:
        """Say what the curves of Fig. 6 say."""
        if blocks.empty:
            self.say(f"Nothing yet: no run at scale {self.parameters.scale}.")
        else:
            self.say(curve_text.curve_sentences(curves.summarise_curves(blocks)))

    def describe(self) -> None:
        """Say which runs a page about one network shows."""
        self.say(verdicts.runs_sentence(self._network.label, self.runs, self.parameters.scale))

    def say(self, sentences: str | Sequence[str]) -> None:
        """Show sentences, several as a list."""
        if isinstance(sentences, str):
            _markdown(sentences)
        else:
            _markdown("\n".join(f"- {sentence}" for sentence in sentences))

    def missing(self) -> None:
        """Say which runs this page lacks, with the commands that make them; else nothing."""
        data_root = str(self.parameters.data_root or "DATA")
        find = (
            retrieval_rows.missing if self.name in retrieval_rows.PAGES else verdicts.missing_runs
        )
        commands = find(self.comparison, self.parameters.seeds, data_root)
        if self._about_one_network:
            recipes = [row.recipe for row in self._network_rows]
            commands = [c for c in commands if any(f" {recipe} " in c for recipe in recipes)]
        if commands:
            _markdown(
                f"Not run at scale {self.parameters.scale}; each command makes one run "
                f"(DATA: the prepared images):\n\n```bash\n" + "\n".join(commands) + "\n```"
            )

    def footer(self) -> None:
        """Show how the page was made: command, records, recipes, commit, data, time, hardware."""
        if "records_root" not in PAGES[self.name]:
            _markdown(footer_without_runs(self.name, self.parameters))
            return
        _markdown(footer_markdown(self.name, self.parameters, self.runs, self._stopped))

    @property
    def _stopped(self) -> list[StoredRecord]:
        rows: Iterable[compare.Row] = self.comparison.rows
        if self._about_one_network:
            rows = self._network_rows
        return [run for row in rows for run in row.stopped]

    def glue(self, name: str, text: str) -> None:
        """Keep a text for other pages of the book to quote.

        They do so with the role `glue:text` and `notebooks/PAGE.ipynb::PAGE_NAME:s`.
        """
        from myst_nb import glue

        glue(f"{self.name}_{name}", text, display=False)


def _markdown(text: str) -> None:
    # Plain CommonMark, which myst-nb reads otherwise, has no tables.
    bundle = {"text/markdown": text, "text/plain": text}
    _display(bundle, {"mystnb": {"markdown_format": "myst"}})


def _display(bundle: dict[str, str], metadata: Mapping[str, object]) -> None:
    from IPython.display import display

    display(bundle, metadata=dict(metadata), raw=True)
