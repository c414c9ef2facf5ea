"""Draws the dashboard of `template.yaml` with the numbers of a local run: the picture in the README.

The map, from the outside in:

- `__main__`: `make dashboard`: runs the demo a few times and writes `docs/dashboard.svg`
- `draw`: widgets and numbers -> SVG, light and dark; also a command of its own, for lines from anywhere
- `body`: the dashboard's JSON out of the template's text, as widgets and what each draws
- `lines`: what the functions printed -> numbers over time, and CloudWatch's metric math over them

The rule: nothing is invented. A number is one that a function printed; what only AWS measures stays empty and says so.

All but `__main__` need nothing besides Python's standard library, so that the picture can be drawn anywhere.
"""
