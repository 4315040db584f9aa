"""How fast the study computes, measured against plain loops that give the same results.

    python -m tests.benchmarks                      the four below, about 10 minutes on an idle machine
    python -m tests.benchmarks meta_test            one of them: meta_test, heavy_heads, training_step, what_if
    python -m tests.benchmarks extraction           clips/s of decode, flow and features, and the planning page
    python -m tests.benchmarks --quick              tiny sizes, seconds: only shows that everything runs

A benchmark first verifies that the fast and the slow path give the same results, to a stated tolerance.  Then it runs
both in turn, five times, and reports the median, the ratio and, where the study has one, the goal.  It says on which
machine, with how many threads and with which versions, and how busy the machine was: timings of a busy machine are
worth little.  Results go to ``results/study/benchmarks/``: one JSON file each, ``benchmarks.md`` made from them, and
the planning page ``planning.md``.
"""
