"""A Sphinx extension for the book's API reference: docstrings as they are, without markup in them.

The library's docstrings are plain text with `code` in backticks, to be read in an editor. To Sphinx
`|Q| < tanh(l)` and `o*tanh(c)` are markup. So all but the code is escaped, before napoleon reads
the sections Args, Returns and Raises.
"""

import inspect
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx

# It has Sphinx's usual 500, and listeners are called in rising order.
BEFORE_NAPOLEON, AFTER_NAPOLEON = 400, 600
# Names of an argument list that go on in the next line, which napoleon would not join.
_NAMES_GO_ON = re.compile(r"^( +(?:\w+, )*\w+),\n +(?=(?:\w+,\s+)*\w+: )", re.M)
_CODE = re.compile(r"`+[^`]+`+")
# The last: "S. The" would begin a numbered list.
_MARKUP = re.compile(r"[\\*|]|_(?!\w)|(?<=\b[A-Za-z])\.(?= )")


def without_markup(lines: list[str]) -> list[str]:
    """Docstring lines as reStructuredText that shows them as they stand.

    Args:
        lines: Of a docstring, without its common indentation.
    """
    text, shown, end = "\n".join(lines), [], 0
    while (joined := _NAMES_GO_ON.sub(r"\1, ", text)) != text:
        text = joined
    for code in _CODE.finditer(text):  # over line ends, too
        shown += [_MARKUP.sub(r"\\\g<0>", text[end : code.start()]), f"``{code[0].strip('`')}``"]
        end = code.end()
    return "".join([*shown, _MARKUP.sub(r"\\\g<0>", text[end:])]).split("\n")


def setup(app: "Sphinx") -> dict[str, Any]:
    """What Sphinx calls on the extension.

    Args:
        app: The build.
    """
    app.connect("autodoc-process-docstring", _process, priority=BEFORE_NAPOLEON)
    app.connect("autodoc-process-docstring", _restore_property, priority=AFTER_NAPOLEON)
    app.connect("autodoc-process-signature", _process_signature)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _process(app: "Sphinx", what: str, name: str, thing: Any, options: Any, lines: list[str]):
    lines[:] = without_markup(lines)


def _restore_property(
    app: "Sphinx", what: str, name: str, thing: Any, options: Any, lines: list[str]
) -> None:
    # napoleon takes a property's "What it is: more" for a type and its description.
    if what == "property" and any(line.startswith(":type:") for line in lines):
        lines[:] = [*without_markup((inspect.getdoc(thing) or "").split("\n")), ""]


def _process_signature(
    app: "Sphinx", what: str, name: str, thing: Any, options: Any, given: str, returned: str
) -> tuple[str, str] | None:
    if not given:
        return None
    if what == "class" and hasattr(thing, "model_fields"):  # pydantic's types are long rules
        return f"(*, {', '.join(thing.model_fields)})", returned
    # A default that is no Python would keep Sphinx from reading the types beside it.
    return given.replace("<factory>", "..."), returned
