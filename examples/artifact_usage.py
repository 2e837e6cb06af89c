"""Artifacts: save, versions, load, list, delete; the user's own; files; metadata.

python examples/artifact_usage.py [FOLDER]
"""

import sys
import tempfile
from pathlib import Path

from api_client import ArtifactKey, NotFound, SessionKey, StorageClient


def main(folder: Path) -> None:
    """Keep artifacts in ``folder``, in this process."""
    with StorageClient.local(f"sqlite:///{folder}/zdk.db", f"file://{folder}/blobs") as client:
        key = ArtifactKey("shop", "ada", "s-1", "report.md")
        first = client.artifacts.save(key, "# Draft", metadata={"by": "writer"}).result()
        second = client.artifacts.save(key, "# Final", metadata={"by": "editor"}).result()
        print(f"saved versions {first} and {second}")

        latest = client.artifacts.load(key).result()
        print(f"latest: {latest.text!r}, {latest.mime_type}, {latest.size} bytes")
        print(f"the first: {client.artifacts.load(key, version=1).result().text!r}")

        picture = folder / "avatar.png"
        picture.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(200_000))
        own = ArtifactKey("shop", "ada", "s-1", "user:avatar.png")
        client.artifacts.save(own, picture).result()
        other_session = ArtifactKey("shop", "ada", "s-2", "user:avatar.png")
        copy = folder / "copy.png"
        client.artifacts.load(other_session, into=copy).result()
        print(f"the user's avatar, from another session: {copy.stat().st_size} bytes")

        for version in client.artifacts.versions(key).result():
            print(f"  {version.name} v{version.version}: {version.metadata['by']}")
        names = [
            found.name for found in client.artifacts.list(SessionKey("shop", "ada", "s-1")).result()
        ]
        print(f"listed: {names}")

        client.artifacts.delete(key, version=2).result()
        print(f"after deleting 2, the next is {client.artifacts.save(key, '# Newer').result()}")
        client.artifacts.delete(key).result()
        try:
            client.artifacts.load(key).result()
        except NotFound as error:
            print(f"deleted: {error}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        main(Path(sys.argv[1] if len(sys.argv) > 1 else temporary).absolute())
