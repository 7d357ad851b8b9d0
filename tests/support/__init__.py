"""What tests of several kinds need."""
