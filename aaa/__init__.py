"""The RADIUS floor: packets, NASes, passwords, dialects, enforcement. It knows no prices."""
