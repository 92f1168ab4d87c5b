"""OWNER of what one page of a list of jobs or batches may cost. Pure."""

LIST_SCAN_LIMIT = 4_900
"""Documents that one page of a list may scan before it ends with a token. Keys are walked twice: to find where to stop,
and to read. So a page examines fewer than 10,000 keys."""
LIST_FIRST_SPAN = 250
"""The first scan of a page. Each further scan is twice as large, while too few jobs match and scans are quick."""
LIST_WITHIN_S = 0.3
"""After this time a page scans no more; documents with large payloads take longer."""
LIST_BYTES = 2**20
"""A page of this size is full, whatever the requested number of jobs; it always has at least one job."""
BATCHES_WITHIN_S = 0.3
"""After this time a list of batches scans the newest jobs instead, `LIST_SCAN_LIMIT` of them for each page."""
BATCHES_LOOKED_AT = 200
"""The most batches of these jobs that a page considers."""
BATCH_JOBS_COUNTED = 1_000
"""The most jobs of each batch that a list counts."""
BATCH_COUNTED = 200_000
"""The most jobs of a batch that are counted exactly; of a larger one, the most in each state. On a busy machine 100,000
keys took 0.8 s. A lower bound would end the exact counts of batches that clients have."""
BATCH_ENDS_READ = 20_000
"""The most jobs of a batch, in each terminal state, whose ends are counted over time; the newest ones."""
