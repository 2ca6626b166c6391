"""What the log can say: a table of all events, and the catalog of the journal and the page of docs made from it."""
