"""The pure core that `scope` and `dataflow` share: does a user's request, in English, entail a planned call?

No I/O, no model, no clock. `wording` and `quantities` compare texts; `lexicon`, `tokens`, `moods` and `clauses` parse a
request; `tools` parses an action's specification, `calls` a plan, and a `situation` holds all of it; `licences` matches
clauses with calls; `stated` finds a value in the request, `facts` in a table, and `evidence` says how well the request
supports it. `requests` is the judgement of `scope`, with `literals`, `measures`, `records` and `substitutes`; `flows`
is that of `dataflow`, with `sightings` and `seen`.
"""
