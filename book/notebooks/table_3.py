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
# # Table 3: on which stage does the reinforcement help?
#
# {cite:t}`li2020dreal` (appendix B.3) train SRM-ResNet-101 with critics on one stage alone, on
# none, and on all. In their Table 3 every stage lowers the error, deeper ones more, and all
# together most. They see in this that DREAL is more effective in deeper layers, and advise to leave
# out shallow stages where computation is scarce.
#
# This page shows their numbers and compares runs of our own. *None* and *all* are the two rows of
# Table 1, read from the same records; the other four reinforce one stage, and leave everything else
# as it is. Ours were made at a smaller scale than theirs, so they stand in a table of their own.

# %%
from book.companion.claims import render
from book.companion.pages import page
from book.companion.results import table_1, table_3
from book.companion.text import runs

# %% tags=["parameters"]
profile = "desktop"  # smoke, desktop or paper
variant = "default"  # a set of overrides, or none
seeds = "all"  # or "[0, 1]"
results = "recorded"  # or rerun: runs of this machine come first
records_root = ""  # other folder of records
data_root = ""  # prepared images, for the commands shown below

# %%
view = page.start("table_3", globals(), table_3.compare_stages)

# %% [markdown]
# ## What the paper reports
#
# Top-1 error on ImageNet in per cent, single crop of 224 px. The difference, a stage less none, is
# our subtraction.

# %% tags=["hide-input"]
view.show(
    table_3.published_errors(),
    "The paper's Table 3: top-1 error of SRM-ResNet-101 on ImageNet in per cent, with DREAL on the "
    "stages named.",
    "tab-published-stages",
)
view.say(table_3.published_sentence())

# %% [markdown]
# ## What we measured
#
# Mean over n seeds ± sample standard deviation; *last* is the last epoch, *best* the epoch with the
# lowest error on the same validation images. The difference to none is that of the last epoch,
# paired by seed, with its 95 % interval (Student's t); below zero, reinforcing is better.

# %% tags=["hide-input"]
view.show(
    table_3.our_errors(view.comparison), runs.scale_caption(view.comparison), "tab-our-stages"
)
view.missing()

# %% [markdown]
# ## What this shows
#
# The rule is that of Table 1: a difference is significant where its 95 % interval leaves out zero.
# Two comparisons were fixed before the runs were read: the deepest stage against the shallowest,
# and all stages against the deepest, the paper's best single one; the steps between neighbouring
# stages came after. Nothing is corrected for there being several.

# %% tags=["hide-input"]
render.say(view, "each-stage", "deeper-stage", "all-stages")

# %% [markdown]
# ## At other scales
#
# Here *baseline* is none, and *reinforced* the stage that stands beside the scale.

# %% tags=["hide-input"]
view.show(
    table_1.overview(view.other_scales),
    table_1.overview_caption(view.other_scales),
    "tab-table-3-other-scales",
)
view.say(table_1.overview_sentences(view.other_scales))

# %% [markdown]
# ## How this page was made

# %% tags=["hide-input"]
view.footer()
