"""`python -m volano` is `volano`."""

from volano.cli import main

main()
