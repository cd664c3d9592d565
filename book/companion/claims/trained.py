"""Statements on attention maps, critiques and rewards, and retrieval, which only training decides.

Every number is computed by the function that the statement's own page uses.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd

from book.companion.attended import scores
from book.companion.attention_maps import changes as attention_claims
from book.companion.attention_maps.loaded import Attention
from book.companion.attention_maps.measures import measure
from book.companion.claims.judged import (
    Found,
    Observed,
    Scale,
    all_of,
    holds_size,
    observe,
    runs_of,
)
from book.companion.claims.statements import Statement
from book.companion.critics import curves, text
from book.companion.papers import dreal, names
from book.companion.papers.names import block_title, last_of_stages
from book.companion.results import ablations, table_2
from book.companion.results.retrieval_rows import by_method, compare_methods
from book.companion.text.differences import OF_SCORES
from book.companion.text.tables import defined, signed
from dreal_lib.comparison import paired
from dreal_lib.comparison.rows import Row
from dreal_lib.records import StoredRecord


def _of_stages(attention: Attention, quantity: str, claimed: dict[str, str]) -> Found:
    """Changes of the last block of the stages in `claimed`, with what is claimed of each."""
    frame = measure(attention)
    last = {name.split(".")[0]: name for name in last_of_stages(attention.maps)}
    found = {}
    for stage, direction in claimed.items():
        difference = attention_claims.change(frame, last[stage], quantity)
        held = holds_size(difference, direction)
        found[f"{block_title(last[stage])} spread"] = (difference, held)
    return found


def channels_alike(scale: Scale, statement: Statement) -> Observed | None:
    """Spread over channels in the last blocks of conv3_x and conv4_x falls."""
    attention = scale.attention(statement.about)
    if attention is None:
        return None
    found = _of_stages(attention, "spread", {"layer2": "lower", "layer3": "lower"})
    said = "Standard deviation over channels of the mean attention."
    return observe(found, _pair_runs(scale, statement.about), unit="", decimals=3, said=said)


def channels_fluctuate(scale: Scale, statement: Statement) -> Observed | None:
    """Over images and over channels, the last block of conv5_x varies more, within bounds."""
    attention = scale.attention(statement.about)
    if attention is None:
        return None
    found = {}
    for quantity, over in (("fluctuation", "over images"), ("spread", "over channels")):
        (item,) = _of_stages(attention, quantity, {"layer4": "higher"}).values()
        found[over] = item
    frame = measure(attention, [last_of_stages(attention.maps)[-1]])
    inside = float(frame[frame["method"] == "reinforced"]["inside"].mean())
    said = f"Share of the reinforced channels within a moderate range: {inside:.3f}."
    runs = _pair_runs(scale, statement.about)
    return observe(found, runs, unit="", decimals=3, said=said, also=inside == 1)


def most_change_in_conv5(scale: Scale, statement: Statement) -> Observed | None:
    """Spread over channels, mean over a stage's blocks: grows most in conv5_x."""
    attention = scale.attention(statement.about)
    if attention is None:
        return None
    frame = measure(attention)
    stages = frame.assign(map=frame["map"].str.split(".").str[0])
    stages = stages.groupby(["method", "seed", "map"], as_index=False).mean(numeric_only=True)
    changes = {s: attention_claims.change(stages, s, "spread") for s in sorted(set(stages["map"]))}
    *_others, deepest = changes
    held = holds_size(changes[deepest], "higher")
    largest = max(changes, key=lambda s: abs(changes[s].mean))  # every stage has maps in both
    found = {names.stage_name(s): (d, held) for s, d in changes.items()}
    runs = _pair_runs(scale, statement.about)
    return observe(found, runs, unit="", decimals=3, also=largest == deepest)


def _pair_runs(scale: Scale, network: str) -> tuple[StoredRecord, ...]:
    return tuple(run for runs in scale.pair(network) for run in runs)


def attended_regions(scale: Scale, statement: Statement) -> Observed | None:
    """Scores of Grad-CAM maps, "correct" or "complete" (`about`), over all images with objects."""
    wanted = scores.CORRECT if statement.about == "correct" else scores.COMPLETE
    for network in ("cbam_resnet50", "se_resnet50"):  # the paper's, else what there is
        runs = scale.pair(network)
        by_score = {c.score: c for c in scores.compare_scores(scores.load_pairs(*runs))}
        if set(wanted) <= by_score.keys():
            break
    else:
        return None
    found = {}
    for score in wanted:
        comparison = by_score[score]
        several = len(comparison.by_seed) > 1
        difference = comparison.over_seeds
        held = holds_size(difference, "higher") if several else None
        found[scores.SCORES[score]] = (difference, held)
    said = f"{scale.network(network).label}, Grad-CAM for the true class."
    seen = observe(found, _pair_runs(scale, network), unit="", decimals=3, said=said)
    return seen and replace(seen, complete=network == "cbam_resnet50")


# Critics and rewards


def _curves(scale: Scale, network: str) -> tuple[list[curves.CurveSummary], Row] | None:
    row = scale.network(network).reinforced
    if not row.runs:
        return None
    frames = [pd.DataFrame(run.blocks()).assign(seed=run.record.seed) for run in row.runs]
    return curves.summarise_curves(pd.concat(frames, ignore_index=True)), row


def critique_follows(scale: Scale, statement: Statement) -> Observed | None:
    """Correlation over epochs of mean critique and mean reward, of every module in every run."""
    found = _curves(scale, statement.about)
    if found is None:
        return None
    summaries, row = found
    close = sum(s.follows >= statement.limit for s in summaries)  # NaN is not close
    images = [s.correlation for s in summaries if not np.isnan(s.correlation)]
    middle = float(np.median(images)) if images else float("nan")
    return Observed(
        f"in {close} of {len(summaries)} module-runs; over images, median correlation "
        f"{defined(middle, with_sign=True)} (n = {len(row.runs)})",
        close == len(summaries),
        row.runs,
        text.curve_sentences(summaries)[0],
        seeds=len(row.runs),
    )


def both_rise(scale: Scale, statement: Statement) -> Observed | None:
    """From the first epoch to the last, critique and reward of every module rise in every run."""
    found = _curves(scale, statement.about)
    if found is None:
        return None
    summaries, row = found
    rewards = sum(s.last_reward > s.first_reward for s in summaries)
    critiques = sum(s.last_critique > s.first_critique for s in summaries)
    sentences = text.curve_sentences(summaries)
    return Observed(
        f"reward in {rewards}, critique in {critiques} of {len(summaries)} module-runs "
        f"(n = {len(row.runs)})",
        rewards == critiques == len(summaries),
        row.runs,
        f"{sentences[1]} {sentences[3]}",
        seeds=len(row.runs),
    )


def deep_against_shallow(scale: Scale, statement: Statement) -> Observed | None:
    """conv5_x less conv2_x in the last epoch: the critique's error, or the gain (`about`)."""
    network, quantity = statement.about.split(", ")
    row = scale.network(network).reinforced
    if not row.runs:
        return None
    column, name, claimed = {
        "error": ("critique_rmse", "error of the critique", "lower"),
        "gain": ("reward_right_mean", "gain", "higher"),
    }[quantity]
    values = ablations.last_epoch_by_stage(row)[column].unstack("stage").dropna()
    shallow, deep = (values[s].to_dict() for s in (names.STAGES[0], names.STAGES[-1]))
    difference = paired.paired_difference(shallow, deep)
    held = holds_size(difference, claimed)
    means = ", ".join(
        f"{defined(float(values[s].mean()))} in {names.stage_name(s)}" for s in names.STAGES
    )
    said = f"Means: {means}."
    return observe({name: (difference, held)}, row.runs, unit="", said=said)


# Retrieval


def retrieved_better(scale: Scale, statement: Statement) -> Observed | None:
    """Rank-1 and mAP (step sum) of a step of Table 2: `about` is "market, reinforced"."""
    half, method = statement.about.split(", ")
    pair = next(p for p in scale.methods.networks if p.network == method)
    rows = {"attention": ("baseline", "attention"), "reinforced": ("attention", "reinforced")}
    found = {}
    for metric, score in (("rank1_pct", "rank1"), ("map_step_pct", "mean_ap")):
        first, second = (getattr(dreal.TABLE_2[row][half], score).value for row in rows[method])
        difference = pair.difference(metric)
        found[table_2.SCORES[metric]] = (
            difference,
            holds_size(difference, "higher", second - first),
        )
    seen = observe(found, runs_of(pair.baseline, pair.reinforced), claims=OF_SCORES)
    if seen is None or _half_of(seen.runs[0]) == half:
        return seen
    # Other data, which say nothing of either set, however they were trained: shown once.
    return replace(seen, complete=False) if half == "market" else None


def _half_of(run: StoredRecord) -> str | None:
    return table_2.PRINTED.get(run.record.data.name)


def ahead_of_all(scale: Scale, _: Statement) -> Observed:
    """Rank-1 and mAP of the reinforced network above those of every compared method."""
    printed, ours, rows = {}, {}, []
    for half, variant in (("market", None), ("duke", "dukemtmc")):
        others = [o for m in dreal.TABLE_2_COMPARED if (o := getattr(m, half)) is not None]
        rows.append(by_method(compare_methods(scale.stored, "paper", variant))["reinforced"])
        for metric, score in (("rank1_pct", "rank1"), ("map_step_pct", "mean_ap")):
            best = max(getattr(o, score).value for o in others)
            name = f"{half.capitalize()} {'mAP' if score == 'mean_ap' else 'Rank-1'}"
            printed[name] = getattr(dreal.TABLE_2["reinforced"][half], score).value - best
            found = rows[-1].summary(metric)
            ours[name] = None if found is None else found.mean - best
    known = {name: margin for name, margin in ours.items() if margin is not None}
    shown = ", ".join(f"{name} {signed(margin)}" for name, margin in (known or printed).items())
    return Observed(
        shown if known else f"not run; in print {shown}",
        all_of([None if margin is None else margin > 0 for margin in ours.values()]),
        runs_of(*rows),
        "Margins over the best of the methods that Table 2 compares; mAP as the step sum.",
        len(known) == len(ours),
        min(len(row.runs) for row in rows),
    )


ON_MAPS: dict[str, Callable[[Scale, Statement], Observed | None]] = {
    function.__name__: function
    for function in (
        channels_alike,
        channels_fluctuate,
        most_change_in_conv5,
        attended_regions,
        critique_follows,
        both_rise,
        deep_against_shallow,
        retrieved_better,
        ahead_of_all,
    )
}
