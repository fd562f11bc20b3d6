"""Every setting of a search as a flag; written by ``python -m xnas_ray.commands.flags_table``."""

from __future__ import annotations

from typing import NamedTuple


class Flag(NamedTuple):
    """One setting.

    Attributes:
        name: dotted name; ``--<name>`` is its flag.
        alias: a shorter flag and keyword, ``""`` when there is none.
        kind: its type in words.
        help: what it means.
    """

    name: str
    alias: str
    kind: str
    help: str


SPEC_FLAGS: tuple[Flag, ...] = (
    Flag(
        "name",
        "",
        "text",
        "a label for people",
    ),
    Flag(
        "task",
        "",
        "text",
        "name of a task in experiments/, or the path of a task folder",
    ),
    Flag(
        "data",
        "",
        "table",
        "keyword arguments of the task's load_data()",
    ),
    Flag(
        "space.name",
        "space",
        "text",
        "registered name, or 'package.module:Class'",
    ),
    Flag(
        "space.params",
        "",
        "table",
        "keyword arguments of its constructor",
    ),
    Flag(
        "controller.name",
        "controller",
        "text",
        "registered name, or 'package.module:Class'",
    ),
    Flag(
        "controller.params",
        "",
        "table",
        "keyword arguments of its constructor",
    ),
    Flag(
        "objectives",
        "",
        "list",
        "what is optimised, the first the most important",
    ),
    Flag(
        "objective_params",
        "",
        "table",
        "keyword arguments of an objective, by its name in objectives",
    ),
    Flag(
        "constraints",
        "",
        "list",
        "such as 'flops <= 50e6': checked before training",
    ),
    Flag(
        "recipe",
        "",
        "table",
        "training settings that differ from the task's",
    ),
    Flag(
        "fidelity",
        "",
        "whole number",
        "epochs of every candidate; default: the task's",
    ),
    Flag(
        "schedule_epochs",
        "",
        "whole number",
        "epochs that the schedule spans; default: fidelity",
    ),
    Flag(
        "budget.trials",
        "trials",
        "whole number",
        "finished trials, failed ones included, reused ones not",
    ),
    Flag(
        "budget.gpu_hours",
        "gpu_hours",
        "number",
        "GPU hours over every attempt",
    ),
    Flag(
        "budget.wall_clock",
        "wall_clock",
        "number",
        "seconds in state running, over restarts",
    ),
    Flag(
        "budget.hard",
        "hard",
        "true|false",
        "stop running trials too when a limit is reached",
    ),
    Flag(
        "resources.cpus",
        "cpus",
        "number",
        "CPUs of one worker",
    ),
    Flag(
        "resources.gpus",
        "gpus",
        "number",
        "GPUs of one worker, fractions such as 0.25 share one GPU",
    ),
    Flag(
        "resources.workers",
        "workers",
        "whole number",
        "most workers at once; default: all that fit",
    ),
    Flag(
        "reuse",
        "",
        "none|completed",
        "take equal finished trials from the store",
    ),
    Flag(
        "keep_weights",
        "",
        "none|best|front|all",
        "whose weights are kept",
    ),
    Flag(
        "keep_activations",
        "",
        "none|front|all",
        "whose class-mean activations are kept, where introspectability is measured",
    ),
    Flag(
        "retries",
        "",
        "whole number",
        "extra attempts after an exception, out of memory or a timeout",
    ),
    Flag(
        "timeout_s",
        "",
        "number",
        "longest that an attempt may take, in seconds",
    ),
    Flag(
        "max_trials_per_worker",
        "",
        "whole number",
        "replace a worker after that many trials",
    ),
    Flag(
        "priority",
        "",
        "number",
        "weight of the fair share between searches",
    ),
    Flag(
        "seed",
        "",
        "whole number",
        "of the controller; drawn at submit when missing",
    ),
    Flag(
        "train_seed",
        "",
        "whole number",
        "of the training of every candidate",
    ),
    Flag(
        "report_test",
        "",
        "true|false",
        "measure every candidate on the test split (tables only)",
    ),
    Flag(
        "measure_on",
        "",
        "validation|test",
        "'test' trains on both other splits; what `xnas finalize` sets, never a search",
    ),
    Flag(
        "parent",
        "",
        "text",
        "search that these come from; `xnas finalize` and `xnas design` set it",
    ),
    Flag(
        "warm_start",
        "",
        "list",
        "architectures to evaluate first; ids of finished searches to learn from",
    ),
)
