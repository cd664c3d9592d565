"""Statements on errors, by network, setting and stage, which only training decides.

Every number is computed by the function that the statement's own page uses.
"""

from collections.abc import Callable
from dataclasses import replace

from book.companion.claims.counts import ATTENTIONS
from book.companion.claims.judged import (
    Observed,
    Scale,
    holds_size,
    observe,
    prediction_half_width,
    runs_of,
)
from book.companion.claims.printed import printed_gain
from book.companion.claims.statements import Statement
from book.companion.papers import dreal, names
from book.companion.results import ablations, table_3
from book.companion.text.differences import OF_ERRORS, effect_text, mean_text
from dreal_lib.comparison import paired
from dreal_lib.comparison import rows as compare
from dreal_lib.comparison.paired import Difference
from dreal_lib.comparison.rows import NetworkComparison
from dreal_lib.settings.dreal import Settings


def less_error(scale: Scale, statement: Statement) -> Observed | None:
    """Top-1 and top-5 error of the network `about`, reinforced less baseline."""
    network = scale.network(statement.about)
    found = {}
    for score, name in (("top1", "top-1"), ("top5", "top-5")):
        difference = network.difference(f"{score}_error_pct")
        gain, _doubt = printed_gain(network.network, score)
        found[name] = (difference, holds_size(difference, "lower", -gain))
    return observe(found, runs_of(network.baseline, network.reinforced), claims=OF_ERRORS)


def less_error_in_each(scale: Scale, _: Statement) -> Observed | None:
    """Top-1 error of each network, reinforced less baseline; beside them the mean."""
    table = scale.table_1
    pairs = [n for n in table.networks if n.seeds]
    differences = {n.label: n.difference("top1_error_pct") for n in table.networks}
    found = {label: (d, holds_size(d, "lower")) for label, d in differences.items()}
    mean = table.difference("top1_error_pct")
    said = (
        f"Mean of {', '.join(n.label for n in table.averaged)}: "
        f"{effect_text(mean, ' points', OF_ERRORS)}."
    )
    runs = runs_of(*(row for n in pairs for row in (n.baseline, n.reinforced)))
    seen = observe(found, runs, said=said, claims=OF_ERRORS)
    if seen is None or mean is None:
        return None
    claims = [d.verdict for d in differences.values() if d is not None]
    shown = mean_text(mean, claims=OF_ERRORS)
    result = (
        f"of {len(pairs)} networks {claims.count('lower')} can be claimed to err less, "
        f"{claims.count('higher')} more; mean of {len(table.averaged)}: top-1 {shown}, n = {mean.n}"
    )
    return replace(seen, result=result)


def like_their_baselines(scale: Scale, _: Statement) -> Observed | None:
    """Our baselines' top-1 errors against those of Table 1; at the paper's own scale alone."""
    if scale.name != "paper" or not compare.is_paper_scale(scale.table_1):
        return None
    found = {}
    for network in scale.table_1.networks:
        values = network.baseline.values("top1_error_pct")
        printed = dreal.TABLE_1[network.network].self_implemented.top1.value
        difference = paired.paired_difference(dict.fromkeys(values, printed), values)
        held = None
        if difference is not None and difference.verdict != "untried":
            held = _lies_within(difference, printed_gain(network.network, "top1")[0])
        found[network.label] = (difference, held)
    return observe(found, runs_of(*(network.baseline for network in scale.table_1.networks)))


def _lies_within(difference: Difference, size: float) -> bool | None:
    """Whether zero lies where one more difference would; None if that is wider than `size`."""
    half = prediction_half_width(difference)
    if abs(difference.mean) > half:
        return False
    return True if half < size else None


def deeper_gains_more(scale: Scale, _: Statement) -> Observed | None:
    """Top-1: the difference with 101 layers less that with 50, by kind of attention."""
    found, rows = {}, []
    for kind, label in ATTENTIONS.items():
        few, many = (scale.network(f"{kind}_resnet{depth}") for depth in (50, 101))
        difference = paired.paired_difference(_by_seed(few), _by_seed(many))
        printed = printed_gain(few.network, "top1")[0] - printed_gain(many.network, "top1")[0]
        found[label] = (difference, holds_size(difference, "lower", printed))
        rows += [few.baseline, few.reinforced, many.baseline, many.reinforced]
    return observe(found, runs_of(*rows))


def _by_seed(network: NetworkComparison) -> dict[int, float]:
    """Reinforced less baseline in top-1 error, by seed."""
    if not network.pairable:
        return {}
    first, second = (r.values("top1_error_pct") for r in (network.baseline, network.reinforced))
    return {seed: second[seed] - first[seed] for seed in first.keys() & second.keys()}


def _changes(scale: Scale, setting: str) -> dict[str, NetworkComparison]:
    known = ablations.known_changes()
    pairs = zip(known, scale.changes.networks, strict=True)
    return {str(change.value): pair for change, pair in pairs if change.setting == setting}


def larger_critic(scale: Scale, _: Statement) -> Observed | None:
    """Larger critics against the default ones: the difference is small."""
    (pair,) = _changes(scale, "critic_hidden").values()
    difference = pair.difference("top1_error_pct")
    most, held = printed_gain(pair.network, "top1")[0], None
    if difference is not None and difference.low is not None and difference.high is not None:
        if difference.low > 0 or difference.high < -most:
            held = False  # no benefit, or more than a marginal one
        elif -most <= difference.low and difference.high <= most:
            held = True
    return observe({"top-1": (difference, held)}, runs_of(pair.baseline, pair.reinforced))


def no_better_gamma(scale: Scale, _: Statement) -> Observed | None:
    """Other values of gamma against 1: none errs less, in runs that could have shown it."""
    found, rows = {}, []
    for value, pair in _changes(scale, "gamma").items():
        difference = pair.difference("top1_error_pct")
        held = _not_lower(difference, printed_gain(pair.network, "top1")[0])
        found[f"gamma {value}"] = (difference, held)
        rows += [pair.baseline, pair.reinforced]
    return observe(found, runs_of(*rows), claims=OF_ERRORS)


def _not_lower(difference: Difference | None, size: float) -> bool | None:
    """Whether no fall can be claimed; None if one of `size` could have been missed."""
    if difference is None or difference.low is None or difference.high is None:
        return None
    if difference.verdict == "lower":
        return False
    return True if (difference.high - difference.low) / 2 < size else None


def plug_and_play(scale: Scale, _: Statement) -> Observed | None:
    """Top-1 error of a network of each kind of attention, with the same settings of the method."""
    networks = {label: scale.network(f"{kind}_resnet50") for kind, label in ATTENTIONS.items()}
    differences = {label: n.difference("top1_error_pct") for label, n in networks.items()}
    found = {label: (d, holds_size(d, "lower")) for label, d in differences.items()}
    trained = [run for n in networks.values() for run in n.reinforced.runs]
    settings = {Settings(**run.record.settings.get("dreal", {})) for run in trained}
    same = len(settings) == 1
    said = f"Settings of the method: {'the same in all' if same else 'not the same'}."
    runs = runs_of(*(row for n in networks.values() for row in (n.baseline, n.reinforced)))
    return observe(found, runs, said=said, also=same or None, claims=OF_ERRORS)


# Table 3


def each_stage_helps(scale: Scale, _: Statement) -> Observed | None:
    """Each stage alone against none."""
    none = dreal.TABLE_3["none"].value
    return _by_stage(
        {
            names.stage_name(s): (scale.stages[s], dreal.TABLE_3[s].value - none)
            for s in names.STAGES
        }
    )


def deeper_stage_helps_more(scale: Scale, _: Statement) -> Observed | None:
    """Each stage alone against the stage before it."""
    steps = zip(names.STAGES[:-1], names.STAGES[1:], strict=True)
    return _by_stage(dict(_against(scale, first, second) for first, second in steps))


def all_stages_help_most(scale: Scale, _: Statement) -> Observed | None:
    """All stages together against each alone."""
    return _by_stage(dict(_against(scale, stage, "all") for stage in names.STAGES))


def _against(scale: Scale, first: str, second: str) -> tuple[str, tuple[NetworkComparison, float]]:
    rows = (scale.stages[first].reinforced, scale.stages[second].reinforced)
    pair = NetworkComparison(table_3.NETWORK, table_3.LABELS[second], *rows)
    printed = dreal.TABLE_3[second].value - dreal.TABLE_3[first].value
    return f"{table_3.LABELS[second]} less {table_3.LABELS[first]}", (pair, printed)


def _by_stage(pairs: dict[str, tuple[NetworkComparison, float]]) -> Observed | None:
    found = {}
    for name, (pair, printed) in pairs.items():
        difference = pair.difference("top1_error_pct")
        found[name] = (difference, holds_size(difference, "lower", printed))
    rows = [row for pair, _ in pairs.values() for row in (pair.baseline, pair.reinforced)]
    return observe(found, runs_of(*rows), claims=OF_ERRORS)


ON_ERRORS: dict[str, Callable[[Scale, Statement], Observed | None]] = {
    function.__name__: function
    for function in (
        less_error,
        less_error_in_each,
        like_their_baselines,
        deeper_gains_more,
        larger_critic,
        no_better_gamma,
        plug_and_play,
        each_stage_helps,
        deeper_stage_helps_more,
        all_stages_help_most,
    )
}
