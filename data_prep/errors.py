"""The one error that preparing data raises for its user."""


class PreparationError(ValueError):
    """One line: the rule, the thing or value that breaks it, and the remedy."""
