"""Runs the same template on LocalStack: a second, stricter emulator of AWS than the one that everything else here uses.

The map: `__main__` is `make test-localstack`; `server` starts LocalStack; `plugin` is what LocalStack runs functions with;
`README.md` says what it is good for, and what it cannot do.
"""
