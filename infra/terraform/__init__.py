"""Makes `variables.tf` of the template's parameters: `python -m infra.terraform`.

One variable for each parameter, with its name, type, default and description, and the map that hands them to the stack. What a
parameter may be stays with CloudFormation, which looks before it changes anything.
"""
