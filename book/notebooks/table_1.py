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
# # Table 1: does reinforced attention lower the error?
#
# {cite:t}`li2020dreal` train six networks on ImageNet, each with its attention as published by its
# authors, and each again with recurrent critics that judge the attention while it is learned. In
# their Table 1 every reinforced network has a lower error than its baseline, at the same cost once
# the critics are taken away.
#
# This page shows their numbers, counts the costs again, and compares baseline and reinforced runs
# of our own. Ours were made at a smaller scale than theirs, so they stand in tables of their own:
# they can tell whether the method helps *there*, not whether the paper's numbers are right.

# %%
from book.companion.attention_maps import shut
from book.companion.claims import render
from book.companion.critics import text
from book.companion.pages import page
from book.companion.results import network_costs, table_1
from book.companion.text import runs

# %% tags=["parameters"]
profile = "desktop"  # smoke, desktop or paper
variant = "default"  # a set of overrides, or none
seeds = "all"  # or "[0, 1]"
results = "recorded"  # or rerun: runs of this machine come first
records_root = ""  # other folder of records
data_root = ""  # prepared images, for the commands shown below

# %%
view = page.start("table_1", globals(), table_1.compare_networks)

# %% [markdown]
# ## What the paper reports
#
# Errors in per cent as top-1 / top-5, single crop of 224 px, on the 50,000 validation images.
# *Official* is what the authors of each attention module reported, *self impl.* the baseline that
# DREAL's authors trained. The difference, reinforced less self impl., is our subtraction.

# %% tags=["hide-input"]
view.show(
    table_1.published_errors(),
    "The paper's Table 1: top-1 / top-5 error on ImageNet in per cent.",
    "tab-published-errors",
)
view.say(table_1.published_gain_sentence())

# %% [markdown]
# ## What the networks cost
#
# Parameters in millions and multiply-accumulates in units of 10⁹ at 224 px, which the paper calls
# GFLOPs. Critics exist during training alone.
#
# The paper's way of counting differs from the true count twice. Its SRM rows leave out the weight
# that mixes mean and deviation (two numbers a channel), which a counter of standard layers does not
# see. And its reinforced GFLOPs agree with counting a stage's critic N(N + 1) times for N blocks.
# Some of its numbers are rounded, some cut off; two are missing in our copy. Neither column counts
# the predictions with a bypassed block that the reward needs: up to four more forward passes a
# training step, by far the larger cost.

# %% tags=["hide-input"]
view.show(
    network_costs.cost_table(),
    "Parameters (millions) and GFLOPs as printed, recounted the paper's way, and true.",
    "tab-costs",
)

# %% [markdown]
# ## What we measured
#
# Every number is the mean over n seeds ± their sample standard deviation. *Last* is the last epoch;
# *best* the epoch with the lowest top-1 error on the same validation images, which flatters every
# run, and is shown because the paper's numbers may be of that kind.

# %% tags=["hide-input"]
view.show(
    table_1.our_errors(view.comparison), runs.scale_caption(view.comparison), "tab-our-errors"
)
view.missing()

# %% [markdown]
# A seed decides the initial weights, the order of the images and their crops, so baseline and
# reinforced runs are compared pairwise. Below zero, the reinforced network is better.

# %% tags=["hide-input"]
view.show(
    table_1.our_differences(view.comparison),
    "Reinforced minus baseline in points of error, paired by seed: seed by seed, mean ± sample "
    "standard deviation, and the 95 % interval of the mean (Student's t); a dash where there is "
    "nothing to compute it from.",
    "tab-our-differences",
)

# %% [markdown]
# ## What this shows
#
# A difference is significant where the 95 % interval of the paired difference in the last epoch
# leaves out zero; one seed has no interval. For top-1 the rule was fixed before the runs were read;
# for top-5, and that ours has to agree with a printed size as well, after. Networks are judged one
# by one, without correcting for there being several; the {doc}`scoreboard <scoreboard>` corrects.

# %% tags=["hide-input"]
render.say(
    view,
    "consistent",
    "se-resnet-50",
    "se-resnet-101",
    "cbam-resnet-50",
    "cbam-resnet-101",
    "srm-resnet-50",
    "srm-resnet-101",
    "deeper-top-1",
)
view.glue("verdict", table_1.mean_sentence(view.comparison))

# %% [markdown]
# ## Did the method act?
#
# A row is called reinforced because critics were trained beside it. Whether they taught it anything
# is another question: a critic that answers the same to every image passes on next to no gradient.

# %% tags=["hide-input"]
view.say(
    [
        text.recurrence_of_runs(view.runs),
        text.silence_of_runs(view.runs),
        *shut.shut_sentences(view.comparison.networks),
    ]
)

# %% [markdown]
# ## At other scales

# %% tags=["hide-input"]
view.show(
    table_1.overview(view.other_scales),
    table_1.overview_caption(view.other_scales),
    "tab-table-1-other-scales",
)
view.say(table_1.overview_sentences(view.other_scales))

# %% [markdown]
# ## How this page was made

# %% tags=["hide-input"]
view.footer()
