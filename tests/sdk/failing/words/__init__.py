"""A package of the filter's own."""
