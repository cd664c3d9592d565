"""Networks of other people by name: timm's, torchvision's, or any function that returns one."""

from importlib import import_module

from torch import nn

from dreal_lib.errors import UserError, unknown_choice

FORMS = "timm:NAME, torchvision:NAME or PACKAGE.MODULE:FACTORY"


def load_network(name: str, num_classes: int | None = None) -> nn.Module:
    """A network with weights that are not trained.

    Args:
        name: "timm:NAME", "torchvision:NAME", or "PACKAGE.MODULE:FACTORY", a function that is
            called without arguments.
        num_classes: Outputs of the classifier, for the first two; None is their own number.

    Raises:
        UserError: Another form, a network that does not exist, or a package that is not installed.
    """
    source, colon, which = name.partition(":")
    if not colon or not source or not which:
        raise UserError(f"a network is given as {FORMS}; got {name!r}; try timm:seresnet50")
    options = {} if num_classes is None else {"num_classes": num_classes}
    if source == "timm":
        return _of_timm(which, options)
    if source == "torchvision":
        from torchvision import models

        if which not in models.list_models():
            raise unknown_choice("network of torchvision", which, models.list_models())
        return models.get_model(which, weights=None, **options)
    return _made_by(source, which)


def _of_timm(which: str, options: dict[str, int]) -> nn.Module:
    try:
        import timm
    except ImportError:
        raise UserError(
            f"timm:{which} needs timm, which is not installed; try pip install "
            f"'dreal-companion[timm]'"
        ) from None
    if not timm.is_model(which):
        near = timm.list_models(f"*{which[:6]}*")[:6]
        raise UserError(f"unknown network of timm {which!r}; some like it: {', '.join(near)}")
    return timm.create_model(which, pretrained=False, **options)


def _made_by(module: str, factory: str) -> nn.Module:
    try:
        found = getattr(import_module(module), factory)
    except (ImportError, AttributeError) as error:
        raise UserError(f"{module}:{factory} cannot be imported ({error}); give {FORMS}") from None
    network = found()
    if not isinstance(network, nn.Module):
        raise UserError(
            f"{module}:{factory} returned {type(network).__name__}; it must return an nn.Module"
        )
    return network
