"""The keys of published records, in order: a change of one is a change of the file format (docs/formats.md)."""

VERDICT_KEYS = (
    *("model", "method", "family", "task", "metric", "verdict", "level", "level_low", "level_high"),
    *("end_of_curve", "jump", "jump_low", "jump_high", "jump_of_headroom", "p_value", "p_value_raw"),
    *("p_gradual", "p_gradual_raw", "minimum_detectable", "axis", "steepest_span", "steepest_share"),
    *("steepest_share_low", "steepest_share_high", "rise_width", "rise_width_low", "rise_width_high", "notes"),
)

SLICE_VERDICT_KEYS = (*VERDICT_KEYS[:4], "slice", "n", "units", *VERDICT_KEYS[4:])

DOSE_KEYS = (
    *("model", "method", "task", "metric", "tolerance", "kept_through", "lost_from", "not_known"),
    *("items_to_decide", "dose", "dose_low", "dose_high", "dose_bound", "levels", "kept_on_every_task"),
    *("lost_on_a_task", "floor", "scope", "notes"),
)

SPREAD_FIGURES = ("accuracy", "set_size")

SPREAD_KEYS = (
    *("model", "task", "scoring", "shots", "variant", "n_prompts", "prompts"),
    *(
        f"{metric}_{name}"
        for metric in SPREAD_FIGURES
        for name in (
            *("mean", "low", "high", "deviation", "change_mean", "change_low", "change_high", "change_deviation"),
            *("same_direction", "change_over_spread"),
        )
    ),
)

SEED_SPREAD_KEYS = (
    *("model", "task", "scoring", "prompt", "shots", "variant", "n_seeds", "seeds"),
    *(
        f"{metric}_{name}"
        for metric in SPREAD_FIGURES
        for name in (
            *("mean", "low", "high", "deviation", "change_mean", "change_low", "change_high", "change_deviation"),
            *("change_deviation_low", "change_deviation_high", "same_direction", "change_half_width"),
            "change_seeds_over_items",
        )
    ),
)
