"""What all parties must agree on, byte for byte: documents, log, beacon, accounting, bundle."""
