"""Studies: questions asked often enough to have a name, each answered by running the whole line.

`npubench study NAME` runs one. `registry` has the names, `record` what a study gives back.
"""
