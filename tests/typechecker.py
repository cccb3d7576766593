"""Types and shapes are checked at run time under test; an int where a float is meant passes, as Python has it."""

from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))
