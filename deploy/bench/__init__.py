"""`make bench-proofs`: what proving and verifying cost here, beside training and the stated goals."""
