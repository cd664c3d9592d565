"""The testable statements of the papers: data, in one YAML file a paper beside this module.

A statement quotes its paper and says what decides it. What training decides has `parts`: each takes
a number from a source (`sources`), and a rule (`rules`) says whether it bears the statement out.
What is counted, or follows from the paper itself, has parts whose sources need no run (`counted`),
or a `reading`. The verdict reached last stands in the file; `board` computes it anew.
"""

from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dreal_lib.errors import UserError

FOLDER = Path(__file__).parent
FILES = ("dreal.yaml",)  # one a paper

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


class Part(BaseModel):
    """One number of a statement, and what is asked of it.

    Attributes:
        source: A name of `sources.SOURCES`.
        arguments: For the source; "{network}" in them is the statement's network, "{printed}" its
            printed number.
        printed: The paper's own number, as an expression in rows; "same" repeats the part's rows.
        rules: Names of `rules.RULES`, all to be met; without one the number is only shown.
        better: "lower" or "higher", where one of the two is better.
        brief: Whether the short result has it too, for a part that decides nothing.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    arguments: dict[str, Any] = {}
    printed: str = ""
    rules: tuple[str, ...] = ()
    better: Literal["", "lower", "higher"] = ""
    brief: bool = False

    def about(self, **facts: str | None) -> "Part":
        """This part with a network and a printed number in the place of their names."""
        arguments = {
            name: value.format(**facts) if isinstance(value, str) else value
            for name, value in self.arguments.items()
        }
        return self.model_copy(update={"arguments": arguments})


class Statement(BaseModel):
    """One statement of one paper.

    Attributes:
        paper: The name in the head of its file.
        id: Short name, of all papers' statements the only one.
        group: The part of the scoreboard it stands in.
        title: The statement in a few words of ours.
        quote: Of the paper; "{printed}" stands for the number below, "..." for words left out.
        source: Section, table or equation.
        printed: The number in the quote, as printed; "{printed}" in a part's arguments.
        reading: Of a statement that can be read in two ways, which is all there is to say.
        parts: What decides it, by name; of one without `recipes`, without training.
        held: The verdict where it needs no training and all its parts hold.
        broken: The verdict where one does not; where two do not, the second, if there is one.
        beside: What is shown with these and decides nothing.
        network: The network that its parts are about; a page may put another in its place.
        stand_in: A network that is shown, and decides nothing, where `network` was not run.
        data: The only data set that decides, where the scale alone does not name it.
        elsewhere: Whether runs on other data are shown.
        same_settings: Whether all reinforced runs must share the settings of the method.
        tally: Whether the short result counts its parts instead of listing them.
        decides: The measure, in words.
        tolerance: How close is close enough, and where that comes from.
        fixed: Of what training decides: whether the criterion was fixed before or after the first
            of its runs was on record, and by which commit.
        recipes: Rows that would decide at the paper's scale, each with three seeds.
        variants: Of profile `paper`, for data sets other than its own.
        seen: The page with more.
        verdict: The verdict that was reached last; a test holds it to the records.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    paper: str
    id: str = Field(pattern=r"^[a-z0-9-]+$")
    group: Group
    title: str
    quote: str
    source: str
    printed: str | None = Field(None, pattern=r"^\d+(\.\d+)?$")
    reading: str = ""
    held: Verdict = REPRODUCED
    broken: tuple[Verdict, ...] = (NOT_REPRODUCED,)
    parts: dict[str, Part] = {}
    beside: dict[str, Part] = {}
    network: str = ""
    stand_in: str = ""
    data: str = ""
    elsewhere: bool = True
    same_settings: bool = False
    tally: bool = False
    decides: str
    tolerance: str
    fixed: str = Field("", pattern=r"^((before|after) [0-9a-f]{7})?$")
    recipes: tuple[str, ...] = ()
    variants: tuple[str | None, ...] = (None,)
    seen: str
    verdict: Verdict

    @property
    def quotation(self) -> str:
        return self.quote.format(printed=self.printed)


@cache
def statements(folder: Path = FOLDER, files: tuple[str, ...] = FILES) -> tuple[Statement, ...]:
    """All statements of all papers, by group, then by paper.

    Args:
        folder: Where the files lie.
        files: One a paper.

    Raises:
        UserError: An entry that is wrong, or two with one id; one line.
    """
    found = [statement for name in files for statement in read_statements(folder / name)]
    ids = [item.id for item in found]
    twice = sorted({name for name in ids if ids.count(name) > 1})
    if twice:
        raise UserError(f"{', '.join(files)}: two entries of id {', '.join(twice)}; rename one")
    return tuple(sorted(found, key=lambda item: GROUPS.index(item.group)))


def read_statements(path: Path) -> list[Statement]:
    """The statements of one file, which names its paper; errors as `statements`'s."""
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict) or content.keys() - {"shared"} != {"paper", "statements"}:
        raise UserError(f"{path.name} must hold paper and statements; add what is missing")
    return [_read(entry, content["paper"], path.name) for entry in content["statements"]]


def _read(entry: dict[str, Any], paper: str, file: str) -> Statement:
    fields = {key: value for key, value in entry.items() if key != "each"}
    if isinstance(fields.get("broken"), str):
        fields["broken"] = (fields["broken"],)
    for name in ("parts", "beside"):
        fields[name] = {
            title: _part(entry.get("each", {}) | part)
            for title, part in fields.get(name, {}).items()
        }
    if bool(fields["parts"]) == bool(fields.get("reading")):
        raise UserError(
            f"{file}: entry {entry.get('id')!r} must have either parts or a reading; give one"
        )
    try:
        return Statement(paper=paper, **fields)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise UserError(
            f"{file}: entry {entry.get('id')!r} has a bad {field}: {first['msg']}; mend it"
        ) from None


def _part(fields: dict[str, Any]) -> dict[str, Any]:
    """A part as the file writes it, flat: what is no field of `Part` is for the source."""
    own = {key: value for key, value in fields.items() if key in Part.model_fields}
    arguments = {key: value for key, value in fields.items() if key not in Part.model_fields}
    rules = fields.get("rules", ())
    return own | {"arguments": arguments, "rules": rules.split() if rules else ()}
