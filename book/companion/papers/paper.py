"""The papers of this project, and which of them a row, a page or a record belongs to."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Paper:
    """A paper of which this project has rows and pages.

    Attributes:
        name: Short.
        citation: As a source of numbers.
        prefix: What the names of its recipe folders and pages begin with. DREAL's have none: they
            were here first, and records hold the names.
    """

    name: str
    citation: str
    prefix: str

    def __str__(self) -> str:
        return f"{self.name} ({self.citation})"


DREAL = Paper("DREAL", "Li & Chen 2020", "")
RGA = Paper("RGA", "Zhang et al. 2019, arXiv 1904.02998v1", "rga_")
PAPERS = (RGA, DREAL)  # the empty prefix fits all, and comes last


def paper_of(name: str) -> Paper:
    """The paper that a row ("rga_table_1/x"), its folder or a page belongs to, by its prefix."""
    return next(paper for paper in PAPERS if name.startswith(paper.prefix))


def part_of(name: str) -> str:
    """What of its paper a row, folder or page repeats.

    "Table 1" of "rga_table_1/x" and of "table_1"; where no table or figure is named, the name.
    """
    folder = name.partition("/")[0].removeprefix(paper_of(name).prefix)
    kind, _, number = folder.partition("_")
    titles = {"table": "Table", "fig": "Fig."}
    return f"{titles[kind]} {number}" if kind in titles and number.isdecimal() else folder
