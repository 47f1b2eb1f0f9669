"""``nemorouter openapi``."""

from nemorouter.cli.run import DEFAULTS, Common


def openapi(*, common: Common = DEFAULTS) -> None:
    """Print the OpenAPI 3.1 document of the management API, as /api/v1/openapi.json answers it."""
    from nemorouter.cli.output import print_json
    from nemorouter.control.api import ROUTES
    from nemorouter.control.api.openapi import document

    print_json(document(ROUTES))
