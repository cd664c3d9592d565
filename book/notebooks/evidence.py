# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Does the critic teach the attention anything?
#
# The {doc}`plan <../plan>` was committed before the first of these runs: nine arms on one network
# in which the method can act (three blocks a stage), up to nine seeds each, five contrasts, and
# the rule by which they are judged. A contrast is shown only when all of its planned pairs are
# there.

# %%
from book.companion.pages import page
from book.companion.results import evidence

# %% tags=["parameters"]
profile = "desktop"  # smoke, desktop or paper
variant = "default"  # a set of overrides, or none
seeds = "all"  # or "[0, 1]"
results = "recorded"  # or rerun: runs of this machine come first
records_root = ""  # other folder of records
data_root = ""  # prepared images, for the commands shown below

# %%
view = page.start("evidence", globals(), evidence.compare_arms)

# %% [markdown]
# ## In short

# %% tags=["hide-input"]
view.say(evidence.contrast_sentences(view.comparison))

# %% [markdown]
# ## The five contrasts

# %% tags=["hide-input"]
view.show(
    evidence.contrast_table(view.comparison),
    "First row minus second row in points of top-1 error after the last epoch, paired by seed; "
    "below zero the first has the lower error. p: of the two-sided paired t-test, and of two "
    "one-sided tests against 1.0 point (equivalence); each family of five is corrected by Holm.",
    "tab-contrasts",
)

# %% tags=["hide-input", "nbval-ignore-output"]
view.figure(
    evidence.forest,
    evidence.contrast_points(view.comparison),
    caption="The contrasts that are judged. A dot is a pair of runs (a seed), the diamond their "
    "mean with its 95 % interval; the band is ±1.0 point, within which the plan speaks of "
    "equivalence.",
    alt=evidence.alt_text,
    label="fig-contrasts",
    optional=True,
)

# %% [markdown]
# ## The arms

# %% tags=["hide-input"]
view.show(
    evidence.arm_table(view.comparison),
    "Top-1 error in per cent on the 6,000 judged images after the last epoch, mean ± sample "
    "standard deviation over seeds; of arms that have all their planned seeds.",
    "tab-arms",
)
view.say([evidence.compute_sentence(view.comparison)])

# %% [markdown]
# The networks are small and trained briefly, so errors are high; differences between arms are what
# the comparison is for. Nothing here says how the method does at the size of ImageNet. Why the
# critic acts as it does is looked at in {doc}`critic_gradient` and {doc}`dead_critics`.

# %% [markdown]
# ## How this page was made

# %% tags=["hide-input"]
view.footer()
