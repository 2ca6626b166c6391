"""`make bench`: how fast we are, beside those who do the same work, in turn and in the same run."""
