"""The testable statements of the paper (Li & Chen, 2020): data, in `statements.yaml`.

An entry quotes the paper, names what decides it and how close is close enough, and holds the
verdict that was reached last. `book.companion.claims.board` computes the verdict anew.
"""

from functools import cache
from pathlib import Path
from typing import Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dreal_lib.errors import UserError

FILE = Path(__file__).with_name("statements.yaml")

Verdict = Literal[
    "reproduced",
    "not reproduced",
    "contradicted by the paper itself",
    "unclear in the paper",
    "not yet tried at a scale that can decide",
]
REPRODUCED, NOT_REPRODUCED, CONTRADICTED, UNCLEAR, UNTRIED = VERDICTS = get_args(Verdict)

Group = Literal["errors", "costs", "attention", "critics", "retrieval", "training"]
GROUPS = get_args(Group)


class Statement(BaseModel):
    """One statement.

    Attributes:
        id: Short name.
        group: The part of the page it stands in.
        title: The statement in a few words of ours.
        quote: Of the paper; "{printed}" stands for the number below, "..." for words left out.
        source: Section, table or equation.
        measure: Name of the function that decides, of `counted_claims`, `printed_claims`,
            `error_claims` or `map_claims`.
        about: What that function is to look at: a network, a data set, a kind of row.
        printed: The number in the quote, as printed.
        limit: A threshold that is ours, where the paper gives none.
        decides: The measure, in words.
        tolerance: How close is close enough, and where that comes from.
        recipes: Rows that would decide at the paper's scale, each with three seeds.
        variants: Of profile `paper`, for data sets other than its own.
        seen: The page with more.
        verdict: The verdict that was reached last; a test holds it to the records.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(pattern=r"^[a-z0-9-]+$")
    group: Group
    title: str
    quote: str
    source: str
    measure: str
    about: str = ""
    printed: str | None = Field(None, pattern=r"^\d+(\.\d+)?$")
    limit: float | None = None
    decides: str
    tolerance: str
    recipes: tuple[str, ...] = ()
    variants: tuple[str | None, ...] = (None,)
    seen: str
    verdict: Verdict

    @property
    def quotation(self) -> str:
        return self.quote.format(printed=self.printed)


@cache
def statements() -> tuple[Statement, ...]:
    """All statements, by group.

    Raises:
        UserError: An entry that is wrong, or two with one id; one line.
    """
    return read_statements(FILE.read_text(encoding="utf-8"))


def read_statements(text: str) -> tuple[Statement, ...]:
    """Statements from YAML; errors as `statements`'s."""
    found = []
    for entry in yaml.safe_load(text):
        try:
            found.append(Statement(**entry))
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"])
            raise UserError(
                f"{FILE.name}: entry {entry.get('id')!r} has a bad {field}: {first['msg']}; mend it"
            ) from None
    ids = [item.id for item in found]
    twice = sorted({name for name in ids if ids.count(name) > 1})
    if twice:
        raise UserError(f"{FILE.name} has two entries of id {', '.join(twice)}; rename one")
    return tuple(sorted(found, key=lambda item: GROUPS.index(item.group)))
