"""What a federation does when its processes are killed: `make bench-faults`."""
