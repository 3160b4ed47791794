"""The bench: this service beside its peers, in one run, on one machine, as ratios.

In reading order: `command` (the run on one screen), `schedule` (who plays when), `stage` (the clock and the
meters), `cases/` (what is measured), `load/` (the generator), `peers/` (the servers) on `process_tree`;
then `figures` (the vocabulary), `results`, `bars`, `report`, `plots` and `machine`.

Run it with `python -m loadtests.bench`; it needs the `load` extra and Linux.
"""
