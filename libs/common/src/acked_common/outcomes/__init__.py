"""The outcome of an attempt: what a handler returned or raised, and the transition that follows.

Workers and the test kit `acked.testing` apply these rules; they alone import this folder, because it needs the
distribution `acked` (the extra `acked-common[outcomes]`). Gateway and intake run without it.
"""
