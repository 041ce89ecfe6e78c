"""What follows from a request: the pure core that the monitors `scope` and `dataflow` share.

No I/O, no model, no clock. `wording` and `quantities` compare texts; `lexicon`, `clauses` and `asking` read a request;
`tools` reads an action's specification; `licences` says which clause explains which call; `evidence` says where a value
stands; `steering`, `prose` and `records` judge what may be aimed where.
"""
