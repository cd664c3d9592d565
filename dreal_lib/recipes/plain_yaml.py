"""YAML as people mean it: no aliases, whole numbers in tens, and a value by hand is all its text.

YAML 1.1, which PyYAML reads, makes 8 of 010 and 90 of 1:30, a date of 2020-01-01, and of a few
lines of nested aliases more memory than there is. None of that has a use in a recipe.
"""

import re
from typing import Any, ClassVar

import yaml

_INT = re.compile(r"[-+]?[0-9]+|0x[0-9a-fA-F]+")
_LEFT_OUT = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:timestamp")
_FLOW = ("[", "{", '"', "'")  # how a value begins that is more than a word or a number


class _Loader(yaml.SafeLoader):
    # Lists by first character, of PyYAML's (tag, pattern); its own stay as they are.
    yaml_implicit_resolvers: ClassVar[dict] = {
        first: [(tag, pattern) for tag, pattern in rules if tag not in _LEFT_OUT]
        for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise yaml.YAMLError(
                f"line {mark.line + 1} has an alias (*{self.peek_event().anchor}), which is not "
                f"allowed: write the value itself"
            )
        return super().compose_node(parent, index)


def _whole(loader: _Loader, node: yaml.ScalarNode) -> int:
    text = loader.construct_scalar(node)
    return int(text, 16) if text.lower().startswith("0x") else int(text)


_Loader.add_implicit_resolver(
    _LEFT_OUT[0], re.compile(rf"^(?:{_INT.pattern})$"), list("-+0123456789")
)
_Loader.add_constructor(_LEFT_OUT[0], _whole)


def load(text: str) -> Any:
    """What a YAML document holds.

    Raises:
        yaml.YAMLError: It is none, has an alias, or is nested too deeply.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except RecursionError:
        raise yaml.YAMLError("it is nested too deeply") from None
    except ValueError as error:  # 5,000 digits, for instance
        raise yaml.YAMLError(str(error)) from None


def value(text: str) -> Any:
    """A value given by hand: a list, mapping or quoted text, or else a number, word or any text.

    `photos #2`, `a: b` and `name:` are texts as they stand, spaces included.

    Raises:
        yaml.YAMLError: As `load`.
    """
    stripped = text.strip()
    if stripped.startswith(_FLOW):
        return load(stripped)
    loader = _Loader("")
    try:
        tag = loader.resolve(yaml.ScalarNode, stripped, (True, False))
        if tag == "tag:yaml.org,2002:str":
            return text
        return loader.construct_object(yaml.ScalarNode(tag, stripped))
    except ValueError as error:
        raise yaml.YAMLError(str(error)) from None
    finally:
        loader.dispose()
