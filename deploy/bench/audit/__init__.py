"""`make bench-audit`: what auditing a hundred rounds and a log of a million entries costs here."""
