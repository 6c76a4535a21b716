"""What a round takes, beside Flower alone on vectors of the same size."""
