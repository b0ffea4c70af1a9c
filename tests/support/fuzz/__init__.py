"""Fuzzing of what reads bytes from strangers: ``make fuzz``, and a bounded form of the same in ``make test``.

A target (``targets``) is a function of bytes that raises if a promise is broken
and else says, in a word, what happened. Bytes, so that whatever breaks a promise
is a file that can be read again: put it under ``tests/fuzz/regressions/TARGET/``
and ``make test`` replays it for ever.

It lies with what supports the tests because it is a program as well, which runs
for hours; ``tests/fuzz`` runs its targets for a second each.

Inputs are written by Hypothesis, from strategies that know the grammar, without
random choice in ``make test``. In ``make fuzz`` atheris, which looks for inputs
that reach new lines, has the targets where bytes alone lead far (``guided``).
"""
