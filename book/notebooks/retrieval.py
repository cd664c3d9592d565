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
# # What is retrieved, and by which parts
#
# {cite:t}`li2020dreal` (appendix B.2) suppose that reinforced attention recognises persons better
# because it is removed "from misleading regions of the pedestrian image". They show no picture of
# it. This page does: for a few queries the ten gallery images that each network of
# {doc}`Table 2 <table_2>` ranks first, right and wrong ones marked, and below each image the parts
# that make it similar to the query. Then it measures the claim.
#
# The heat maps are Grad-CAM ({cite:t}`selvaraju2017gradcam`), with the cosine similarity to the
# query's embedding where a classifier has a class's score. The gradient of a
# cosine stands at right angles to the embedding: a map shows what would turn the image's embedding
# further towards the query's, which need not be what their similarity is made of, and may well lie
# on the border.

# %%
from book.companion.attended import mask_energy, ranked_figure, ranked_lists
from book.companion.pages import page
from book.companion.results import retrieval_rows

# %% tags=["parameters"]
profile = "smoke"  # smoke, desktop or paper
variant = "default"  # one data set of the profile, or none
seeds = "all"  # or "[0, 1]"
results = "recorded"  # or rerun: runs of this machine come first
records_root = ""  # other folder of records
data_root = ""  # the runs' own images; those of other sets than the rendered one show only so
shown_seed = "first"  # the seed whose lists are shown; the numbers are over all

# %%
view = page.start("retrieval", globals(), retrieval_rows.compare_sets)
lists = ranked_lists.load(view.comparison, view.parameters.shown_seed, view.parameters.data_root)
both, fixed, broken = lists.by_outcome.values()
view.say(retrieval_rows.facts(view.comparison))
view.missing()

# %% [markdown]
# ## Ranked lists

# %% tags=["hide-input"]
view.say(lists.sentences)
view.show(
    ranked_lists.lists_table(lists),
    "The queries shown below: rank of the first right image in the whole gallery, right images "
    "among the first ten, right images that there are, average precision (step sum) in per cent.",
    "tab-ranked-lists",
)

# %%
caption = (
    "A query {data.answered}, and the gallery images nearest to it, by network. Framed solid with "
    "a tick: the same identity; dashed with a cross: another. The number is the cosine similarity, "
    "c the camera. Below each image its Grad-CAM heat map for the similarity to the query; below "
    "the query that for the similarity to the image ranked first."
)

# %% tags=["hide-input", "nbval-ignore-output"]
view.figure(
    ranked_figure.draw_query,
    both,
    caption=caption,
    alt="Rows of images with heat maps, by network, for a query {data.answered}.",
    label="fig-retrieved-right",
    numbers=ranked_lists.of_query,
    optional=True,
)

# %% tags=["hide-input", "nbval-ignore-output"]
view.figure(
    ranked_figure.draw_query,
    fixed,
    caption=caption,
    alt="Rows of images with heat maps, by network, for a query {data.answered}.",
    label="fig-retrieved-fixed",
    numbers=ranked_lists.of_query,
    optional=True,
)

# %% tags=["hide-input", "nbval-ignore-output"]
view.figure(
    ranked_figure.draw_query,
    broken,
    caption=caption,
    alt="Rows of images with heat maps, by network, for a query {data.answered}.",
    label="fig-retrieved-broken",
    numbers=ranked_lists.of_query,
    optional=True,
)

# %% [markdown]
# ## Is attention removed from misleading regions?
#
# The rendered figures have masks: what lies outside is background, or an object in front. A map's
# *energy* is the share of its sum on the mask. It is measured on pairs, a query and one right image
# of it, both drawn at random and the same for every network.

# %% tags=["hide-input"]
view.show(
    mask_energy.energy_table(view.comparison),
    "Energy of the maps on the figures' masks, mean over the pairs on which both maps are defined; "
    "difference by pair, with the 95 % interval of Student's t over the identities of a seed's "
    "pairs, and over seeds in the line of all; p: Wilcoxon's signed-rank test over the means of "
    "identities.",
    "tab-mask-energy",
)
view.say(mask_energy.energy_sentences(view.comparison))

# %% [markdown]
# ## How this page was made

# %% tags=["hide-input"]
view.footer()
