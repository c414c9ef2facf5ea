"""Runs a function's `bootstrap` as a process of this machine: what LocalStack uses in place of Docker.

The map, from the inside out:

- `runtime_api`: the API that a function's program asks for events and tells its answers
- `environment`: one program and its API: started once, given one event after the other, replaced when it dies
- `embedded`: the metrics in what a function printed
- `executor`: the only module that knows LocalStack

The rule: what the program is told, and by which protocol, is what it is told on AWS. LocalStack is not changed anywhere: it finds
this package by the entry point in the folder beside it, which is why nothing is built or installed.

What is absent: limits on memory or processor time, layers, extensions, container images, and answers that are sent in pieces.
"""
