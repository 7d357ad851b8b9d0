"""What is measured of the fleet, and when somebody is told."""
