"""Kill a real server under load, again and again, and hold it to everything that it acknowledged: ``make crash``.

    python -m crash --kills 200 --seed 7

Many clients work on one ``trunkline serve`` at a time (workers). It is killed
with SIGKILL at a random moment and started again on the same data directory
(process, campaign). What every call asked and was told goes into a history,
with the instants around it (history, servicetime); the checker holds it
against the rules, each of which is one sentence (rules), after every kill and
at quiet points, where the queues are looked at without receiving (looks).

A call without an answer, or with a 5xx, may have happened or not, once, before
the kill. A rule may only accuse where no order of such things, and no instant
between a call's beginning and its end, could explain what was seen.
"""
