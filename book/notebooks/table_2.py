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
# # Table 2: does it help to recognise instances?
#
# {cite:t}`li2020dreal` (section 4.2) train a ResNet-50 to recognise persons whom it has never seen:
# given one picture, find the others of the same person among thousands (re-identification). Their
# Table 2 compares three networks: a baseline without attention, one with channel and spatial
# attention in every block, and the same with critics.
#
# This page shows their numbers, and ours on the data sets at hand. Photographs of people are in
# none of them: *Omniglot* asks for drawings of a character by other hands, *Grocery Store* for
# photographs of a product, *rendered figures* are drawings seen by several cameras. The recipes for
# the sets of the paper are there for whoever holds them. DukeMTMC-reID was withdrawn by its
# authors: nothing here downloads it.

# %%
from book.companion.pages import page
from book.companion.results import retrieval_rows, table_2

# %% tags=["parameters"]
profile = "desktop"  # smoke, desktop or paper
variant = "default"  # every data set of the profile; or one of its variants, or none
seeds = "all"  # or "[0, 1]"
results = "recorded"  # or rerun: runs of this machine come first
records_root = ""  # other folder of records
data_root = ""  # prepared images, for the commands shown below

# %%
view = page.start("table_2", globals(), retrieval_rows.compare_sets)

# %% [markdown]
# ## What the paper reports
#
# Rank-1 is the share of queries whose nearest gallery image is right; mAP, the mean average
# precision, counts all right images of the gallery. Both in per cent, single query, no re-ranking.

# %% tags=["hide-input"]
view.show(
    table_2.published_results(),
    "The paper's Table 2. The methods above the last three rows are others', with the digits and "
    "the backbones that the paper prints; two of them have no number on DukeMTMC-reID.",
    "tab-published-retrieval",
)

# %% [markdown]
# ### A contradiction in the paper

# %% tags=["hide-input"]
view.show(
    table_2.published_gains(),
    "What reinforcement gains over + attention, in points: subtracted from the rows of Table 2, "
    "and as the text states it.",
    "tab-published-gains",
)
view.say(table_2.contradiction())

# %% [markdown]
# ## What we measured
#
# Two definitions of average precision are in use, and the paper does not say which is its own: the
# *step sum* takes the precision at each right image; the *trapezoid* averages it with the precision
# just before, as Market-1501's own code does, and is never larger. *mINP* {cite:p}`ye2022survey`
# asks how far down the last right image stands. Gallery images of the query's identity and its
# camera are dropped; those of other identities by that camera stay.

# %% tags=["hide-input"]
view.say(retrieval_rows.facts(view.comparison))
view.show(
    table_2.our_results(view.comparison, "last"),
    "Our runs at the last epoch, in per cent: mean over n seeds ± sample standard deviation.",
    "tab-our-retrieval",
)
view.say(table_2.best_epochs(view.comparison))
view.missing()

# %% [markdown]
# ## What attention and its reinforcement add
#
# Differences are paired by seed: the three networks of a seed learn from the same batches, and the
# two with attention start from the same weights.

# %% tags=["hide-input"]
view.show(
    table_2.our_differences(view.comparison),
    "Differences at the last epoch in points, mean over n seeds ± sample standard deviation, with "
    "the 95 % interval of Student's t. Above zero, the first is better.",
    "tab-our-retrieval-differences",
)

# %% [markdown]
# ## What this shows
#
# The rule is that of Table 1: a difference is significant where its 95 % interval leaves out zero;
# one seed has no interval. Nothing is corrected for there being several. Thin networks
# that learn from scratch on small sets say nothing about a ResNet-50 on Market-1501.

# %% tags=["hide-input"]
view.say(table_2.sentences(view.comparison))

# %% [markdown]
# ## Query by query
#
# Two networks are asked the same queries, so that average precision (step sum) can be compared
# query by query. Such an interval says how the two would differ on other queries of this kind. It
# says nothing about other seeds, and so nothing about the method.

# %% tags=["hide-input"]
view.show(
    table_2.by_query(view.comparison),
    "Average precision by query, difference in points: mean over the queries, its 95 % interval of "
    "Student's t over identities, as queries of one identity rise and fall together, and how many "
    "queries went up and down.",
    "tab-by-query",
)

# %% [markdown]
# ## At other scales

# %% tags=["hide-input"]
view.show(table_2.overview(view.other_scales), table_2.OVERVIEW_CAPTION, "tab-table-2-other-scales")

# %% [markdown]
# ## How this page was made

# %% tags=["hide-input"]
view.footer()
