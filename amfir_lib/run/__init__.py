"""Everything around the computation: the runner and its parts, parallel workers, progress, disk, checks, clearing up.

``runner`` runs notebooks one after another: ``notebooks`` reads them, ``parameters`` checks what they are given,
``planning`` says what would run and why, ``child`` and ``supervise`` execute one, ``verify`` asks whether it is done,
``ledger`` remembers it, ``closing`` ends the run.  ``parallel`` maps a function over items inside a notebook and
``workers`` says where that work goes.
"""
