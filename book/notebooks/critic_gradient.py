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
# # Why it does (not) act: what the critic's gradient is
#
# The attention learns from $\mathcal L_q = -\sum_l Q_l$ (Eq. 8), so it follows $\partial
# Q/\partial A$. It would have to follow $\partial R/\partial A$ for the reward to rise.
# {cite:t}`li2020dreal` call the criterion non-differentiable (section 1) and let a critic stand
# in for it. But wherever the prediction is right the reward can be differentiated, and the two
# gradients can be compared. The {doc}`plan <../plan_critics>` says which runs are audited, how,
# and what is called aligned.

# %%
from book.companion.critics import audits
from book.companion.pages import page

# %% tags=["parameters"]
profile = "desktop"  # smoke, desktop or paper
variant = "default"  # a set of overrides, or none
seeds = "all"  # or "[0, 1]"
results = "recorded"  # or rerun: runs of this machine come first
records_root = ""  # other folder of records
data_root = ""  # prepared images, for the commands shown below

# %%
view = page.start("critic_gradient", globals(), audits.compare_audited)
found = audits.load_audits(view.runs)

# %% [markdown]
# ## In short

# %% tags=["hide-input"]
view.say(audits.alignment_sentences(found))

# %% [markdown]
# ## What a perfect critic would teach
#
# Let $p$ be the probability of the true class, $\bar A$ the map's mean $m = \frac1S\sum_s A_s$ in
# every place, and $\bar p$ the probability with $\bar A$ in place of $A$. Where the prediction is
# right, Eq. 1 is
#
# $$R = 1 - \frac{\bar p}{p}.$$
#
# 1. $\bar p$ depends on $A$ through $m$ alone. With $c = \frac1S\,\partial\log\bar p/\partial m$
#    thus $\partial\log\bar p/\partial A = c\,\mathbf 1$, a common shift of all entries.
# 2. By the quotient rule, $\partial R/\partial A$ is $\bar p/p$ times
#    $\partial\log p/\partial A - \partial\log\bar p/\partial A$.
# 3. Together:
#
# $$\frac{\partial R}{\partial A}
# = \frac{\bar p}{p}\left(\frac{\partial\log p}{\partial A} - c\,\mathbf 1\right).$$
#
# 4. Where the prediction is wrong, $R = -\gamma$ is constant and its gradient is zero.
# 5. So a perfect critic would teach cross-entropy once more, on images that are already right,
#    weighted by $\bar p/p$ and without a common shift of the map; and nothing on the others.
#
# This holds for SE and SRM. CBAM's spatial map is made from the features that its channel map has
# scaled, which adds a term. The tests check both in float64. The reward is thus differentiable
# wherever it carries a gradient at all; what a critic is needed for is not that, but its price: the
# exact gradient costs a backward pass for each bypassed map.

# %% [markdown]
# ## Does the critic's gradient point where the reward rises?

# %% tags=["hide-input"]
view.missing()

# %% tags=["hide-input", "nbval-ignore-output"]
view.figure(
    audits.panels(
        [
            audits.Series("cosine_reward", "critique", "critic: cos(dQ/dA, dR/dA)"),
            audits.Series("cosine_log_p", "", "cross-entropy: cos(d log p/dA, dR/dA)"),
        ],
        "cosine",
        limits=(-0.6, 1.05),
    ),
    found,
    caption="Cosine with the reward's own gradient at four checkpoints: a dot a map (mean over the "
    "images predicted right), a line a run (mean over its maps).",
    alt=audits.alt_text({"cosine_reward": "critic", "cosine_log_p": "cross-entropy"}),
    label="fig-critic-alignment",
)

# %% tags=["hide-input", "nbval-ignore-output"]
view.figure(
    audits.panels(
        [
            audits.Series("reward_change_true", "reward", "along dR/dA"),
            audits.Series("reward_change_critic", "critique", "along dQ/dA"),
            audits.Series("reward_change_random", "", "at random"),
        ],
        "change of R",
    ),
    found,
    caption="By how much the reward changes if a map takes a step of 5 % of its norm in each of "
    "three directions; images predicted right.",
    alt=audits.alt_text(
        {
            "reward_change_critic": "critic",
            "reward_change_random": "random",
            "reward_change_true": "true gradient",
        }
    ),
    label="fig-critic-steps",
)

# %% tags=["hide-input"]
view.show(
    audits.alignment_table(found, view.origin, view.parameters.scale),
    "At the last checkpoint, means over maps, then over n runs; the interval is Student's t over "
    "runs. Step: change of R after a step of 5 % of a map's norm. Undefined: maps, of all runs, "
    "without a cosine.",
    "tab-critic-alignment",
)

# %% [markdown]
# ## What the critic's gradient is made of
#
# **How many directions does it have?** Share of the energy of $\partial Q/\partial A$ that is
# the same for every image, and that lies along one axis. A critic of one cell has four gates, so
# its gradient lies in the span of four fixed directions whatever it sees.

# %% tags=["hide-input", "nbval-ignore-output"]
view.figure(
    audits.panels(
        [
            audits.Series("direction_share", "critique", "along one axis"),
            audits.Series("steady_share", "reinforced", "the same for every image"),
        ],
        "share of the energy",
        limits=(-0.02, 1.02),
    ),
    found,
    caption="Share of the energy of the critic's gradient along one axis, pushed or pulled, and in "
    "its mean over the images.",
    alt=audits.alt_text({"direction_share": "one axis", "steady_share": "same push"}),
    label="fig-critic-directions",
)

# %% [markdown]
# **What does the reward tell?** Mostly whether the prediction is right, which the critic cannot
# see: it knows neither the label nor the output.

# %% tags=["hide-input", "nbval-ignore-output"]
view.figure(
    audits.panels(
        [
            audits.Series(
                "right_variance_share", "right_share", "R's variance that is right or wrong"
            ),
            audits.Series("correlation", "critique", "correlation of Q and R"),
            audits.Series("correlation_right", "", "the same over images predicted right"),
        ],
        "share, correlation",
        limits=(-0.8, 1.05),
    ),
    found,
    caption="What R is made of, and how well Q follows it, image by image.",
    alt=audits.alt_text(
        {
            "right_variance_share": "variance share",
            "correlation": "correlation",
            "correlation_right": "over right images",
        }
    ),
    label="fig-critic-reward-variance",
)

# %% [markdown]
# **Can critics still move?** Gate sensitivity says how far a critique can still move; below 0.01 a
# critic is called saturated. Then its gradient on the attention is small, too, beside that of
# $\mathcal L_c$. {doc}`dead_critics` asks what they die of.

# %% tags=["hide-input", "nbval-ignore-output"]
view.figure(
    audits.panels(
        [
            audits.Series("sensitivity", "critique", "gate sensitivity (median over images)"),
            audits.Series(
                "quality_over_classification", "reinforced", "gradient of $L_q$ over that of $L_c$"
            ),
        ],
        "sensitivity, ratio",
        log=True,
    ),
    found,
    caption="How far critiques can still move, and how strong the critics' push on the attention's "
    "parameters is against that of the classification. Lines: medians over maps; zeros are "
    "left out.",
    alt=audits.alt_text(
        {"sensitivity": "sensitivity", "quality_over_classification": "ratio of the gradients"}
    ),
    label="fig-critic-sensitivity",
)

# %% [markdown]
# ## What follows for the paper's sentence
#
# That the criterion is non-differentiable, and hence needs a critic, holds of the indicator
# "right or wrong" alone. The part that could teach the attention is differentiable, and equals
# cross-entropy up to weight and shift. What a critic learns of it at this scale is shown above; on
# larger networks this project has no runs.

# %% [markdown]
# ## How this page was made

# %% tags=["hide-input"]
view.footer()
