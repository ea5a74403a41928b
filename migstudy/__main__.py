"""`python -m migstudy`: the same as the command `migstudy`."""

from migstudy.cli import app

app(prog_name="migstudy")
