"""The commands: parse options, call one function, print. Nothing else in the project prints."""

import gc

# A command imports some hundred thousand objects that live to its end: looked through for cycles every 700, as by
# default, they cost a sixth of its start.
gc.set_threshold(20_000)
