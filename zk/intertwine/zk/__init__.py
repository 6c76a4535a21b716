"""What is proven: the proof system, its reference string, and one statement a module."""
