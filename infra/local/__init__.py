"""Runs the whole relay on one machine: `template.yaml` on an emulator of AWS's API, and the sandbox in m3ter's place.

The map, from the outside in:

- `__main__`: the commands, `python -m infra.local demo`, `up`, `down` and `serve`
- `up`: leaves a relay running, and stops it
- `guide`, `schedule`: how to use what runs, and ingest-watch's looks while it does
- `setup`: everything started in order, and stopped again whatever happens
- `emulator`, `sandbox`: the two servers
- `package`, `stack`: the function's zip, and the stack it is deployed with
- `function`: what the deployed function printed, and its process
- `processes`, `wait`, `steps`, `settings`: start and stop, conditions with a deadline, calm output, paths and names
- `catalogue.json`: the meters that `up` begins with
- `node`: the Node packages that a test needs, pinned
- `install`: installs the pinned tools all of these need

The rule: the template is deployed as it is, only the place of the function's zip is filled in. Everything listens on
loopback, on a port that was free, and nothing that was started stays behind, but what `up` leaves until `down`.

What is absent: anything that talks to real AWS or to real m3ter, and any build: the make targets do that first.
"""
