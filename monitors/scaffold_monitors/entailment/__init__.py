"""What follows from a request: the pure core that the monitors `scope` and `dataflow` share.

No I/O, no model, no clock. `wording` and `quantities` compare texts; `lexicon`, `tokens`, `moods` and `clauses` read a
request; `tools` reads an action's specification, `calls` a plan; `licences` says which clause explains which call;
`evidence` says where a value stands. `requests` is the judgement of `scope`, with `literals`, `measures`, `records`
and `substitutes`; `flows` that of `dataflow`, with `sightings` and `seen`.
"""
