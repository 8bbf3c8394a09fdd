"""The part `hostile`: thousands of requests that no well-meaning client sends, against every public way of a server.

`kinds` makes the requests, each from its own seed; `run` sends them, several at once; `verdict` judges what comes back
by the one table of `statuses`; `summary` reports.
"""
