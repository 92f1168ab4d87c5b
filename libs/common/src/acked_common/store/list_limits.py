"""OWNER of what one page of a list of jobs may cost. Pure."""

LIST_SCAN_LIMIT = 4_900
"""Documents that one page of a list may look at before it answers with a token. It walks their keys twice: to find
where to stop, and to read them. So a page examines fewer than 10,000 keys."""
LIST_FIRST_SPAN = 250
"""Of these, how many a page looks at first; twice as many then, while it finds too few and the looks are quick."""
LIST_WITHIN_S = 0.3
"""After so long a page looks at no more: the documents of large payloads take longer."""
LIST_BYTES = 2**20
"""A page with so much is full, however many jobs were asked for; one job is always in it."""
