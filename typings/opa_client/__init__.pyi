# The part of opa-python-client that this project uses; the package has no types of its own.
