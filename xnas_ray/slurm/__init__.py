"""Batch scripts for Slurm as pure functions of one flat set of parameters, and the few commands that talk to it."""
