"""The client without I/O. A call is a *flow*: a generator that yields effects and receives their outcomes.

`Acked` and `AsyncAcked` run the same flows; only how they send, wait and receive differs. A flow reads no clock:
each reply says how long its effect took. Pure.
"""
