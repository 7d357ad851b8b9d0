"""What an operator asks of the fleet: canaries through every queue, and the dead letters."""
