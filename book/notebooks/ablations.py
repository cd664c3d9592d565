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
# # Ablations: what do the settings change?
#
# {cite:t}`li2020dreal` mention two experiments without their numbers. The penalty $\gamma$ for a
# wrong prediction is 1 "by cross-validation" (section 3.1), and more complicated critics bring
# "marginally additional benefit" (section 4.1). And of critics that come closer to the reward in
# deep stages ({doc}`fig_6`) they write that this "somewhat reveals" that the method "shows more
# effectiveness in the deeper layers" (appendix B.3).
#
# Other choices the paper leaves open ({doc}`../open_points`): how critics start, how long a block
# stays bypassed, whether CBAM's two maps are bypassed together, and whether losses are summed. Each
# run below changes one setting of a reinforced row of Table 1 and nothing else, and is compared
# with that row seed by seed.

# %%
from book.companion.claims import render
from book.companion.pages import page
from book.companion.results import ablations
from book.companion.text import runs

# %% tags=["parameters"]
profile = "desktop"  # smoke, desktop or paper
variant = "default"  # a set of overrides, or none
seeds = "all"  # or "[0, 1]"
results = "recorded"  # or rerun: runs of this machine come first
records_root = ""  # other folder of records
data_root = ""  # prepared images, for the commands shown below

# %%
view = page.start("ablations", globals(), ablations.compare_changes)

# %% [markdown]
# ## Does the error change?

# %% tags=["hide-input"]
view.show(
    ablations.change_table(view.comparison),
    "Top-1 error in per cent, mean ± sample standard deviation over n seeds. Same seeds: mean of "
    "the default row over the seeds that the changed row has. Difference: of the last epoch, "
    "paired by seed, below zero where the change is better, with its 95 % interval (Student's t).",
    "tab-ablations",
)
view.say(runs.scale_caption(view.comparison))
view.missing()

# %% [markdown]
# A difference is significant where its 95 % interval leaves out zero; one seed has no interval.
# Seeds 1 and 2 of some rows were added after seed 0 had been seen.

# %% tags=["hide-input"]
render.say(view, "larger-critics", "gamma")
view.say([*ablations.without_effect(view.comparison), ablations.chance_sentence(view.comparison)])

# %% [markdown]
# ## How good are the critics, stage by stage?
#
# A critique can be wrong on average, and it can fail to tell one image from another; the error
# holds both, the correlation over images the second. A critic is saturated on an image where its
# gates have gone flat and it can hardly learn. For a critic of several cells that is measured over
# all of their gates, each weighted as it counts in the critique.

# %% tags=["hide-input"]
view.show(
    ablations.critic_table(
        view.comparison, ["gap", "critique_rmse", "correlation", "saturated_share"]
    ),
    "How good the critics are in the last epoch, by stage: distance of mean critique and mean "
    "reward (the gap that the paper's Fig. 6 shows), root mean square error of the critique, its "
    "correlation with the reward over images, share of images on which the critic is "
    "saturated. Means over the blocks of a stage and over seeds; a dash is undefined. gamma scales "
    "the reward and with it gap and error.",
    "tab-critic-errors",
)
view.show(
    ablations.critic_table(view.comparison, ["reward_mean", "critique_mean", "reward_right_mean"]),
    "Mean reward R, mean critique Q, and mean reward on images predicted right (gain) in the last "
    "epoch, by stage; means over the blocks of a stage and over seeds.",
    "tab-critic-rewards",
)

# %% [markdown]
# ## Is it better in deeper layers?
#
# Deepest stage less shallowest, paired by seed, under the same rule. The gain is what the attention
# adds on images predicted right; the rest of the reward is accuracy, which no stage has of its own.

# %% tags=["hide-input"]
render.say(view, "shallow-critics", "deep-attention")
render.say(view, "shallow-critics", "deep-attention", network="cbam_resnet50")

# %% [markdown]
# ## How this page was made

# %% tags=["hide-input"]
view.footer()
