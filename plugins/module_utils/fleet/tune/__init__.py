"""What tasks really used, compared with the model."""
