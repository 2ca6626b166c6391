"""The table of all events of the log, and the journal's catalog and the page of docs that are made from it."""
