"""Values everything else speaks in: endings, refusals, ids, bounds. No I/O, no clock."""
