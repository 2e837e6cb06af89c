"""``python -m api_client`` is the ``zdk`` command."""

from api_client.cli.main import main

main()
