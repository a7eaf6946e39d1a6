"""What can go wrong between a module and a registry, in words for whoever pushes or pulls.

    ImageError
    ├── BadReferenceError    what was given names no image
    ├── CredentialsError     Docker's configuration, or a helper that it names, cannot be used
    ├── RegistryError        the registry cannot be reached, or answers what it should not
    │   ├── AccessError      it refuses these credentials, or asks for some
    │   └── NotFoundError    it has no such image
    ├── TagTakenError        the tag names another image already
    ├── DigestError          what came is not what the digest says
    ├── FormatError          the image holds no module in a form that is known here
    └── MissingExtraError    a Python package is not installed

Each message is one line that names the image, what is wrong and, where there is one, the way out.
"""


class ImageError(Exception):
    """An image cannot be pushed or pulled."""


class BadReferenceError(ImageError):
    """What was given is no reference to an image."""


class CredentialsError(ImageError):
    """Docker's configuration cannot be read, or a credential helper that it names fails."""


class RegistryError(ImageError):
    """The registry cannot be reached, or answers what it should not."""


class AccessError(RegistryError):
    """The registry refuses the credentials, or wants some and there are none."""


class NotFoundError(RegistryError):
    """The registry has no such image, or no such part of it."""


class TagTakenError(ImageError):
    """The tag names another image already, and nobody said that it may be moved."""


class DigestError(ImageError):
    """Bytes that came from a registry are not those that their digest names."""


class FormatError(ImageError):
    """An image is malformed, or holds no module in a form that is known here."""


class MissingExtraError(ImageError):
    """A Python package that images need is not installed."""
