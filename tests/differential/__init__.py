"""Random programs of tengen against NumPy in float64 and against themselves in every mode; see README.md."""
