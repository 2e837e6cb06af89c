"""The limits of the wire, in one place. Client and worker enforce the same numbers.

Identifiers and names are measured in UTF-8 bytes, because that is what an index entry holds: a
PostgreSQL B-tree entry may take about 2,700 bytes (a third of a page), and the widest key here,
app + user + session + artifact name, takes at most 3 * 256 + 1,024 = 1,792.
"""

from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB
GIB: Final = 1024 * MIB

#: Bytes of an app, user, session or event identifier, and of an author or invocation id.
MAX_ID_BYTES: Final = 256
#: Bytes of an artifact's name.
MAX_NAME_BYTES: Final = 1024
#: Bytes of one state key, prefix included.
MAX_STATE_KEY_BYTES: Final = 1024
#: Bytes of a mime type.
MAX_MIME_TYPE_BYTES: Final = 256

#: Levels of nesting inside JSON given by a caller (event content, state values, metadata).
MAX_JSON_DEPTH: Final = 100
#: Bits of one integer inside such JSON; beyond this Python refuses to print or parse it quickly.
MAX_INTEGER_BITS: Final = 4096

#: Bytes of one event as JSON, its state delta included.
MAX_EVENT_BYTES: Final = 4 * MIB
#: Bytes of the state given to one ``create`` or ``update_state``, as JSON.
MAX_STATE_BYTES: Final = 4 * MIB
#: Bytes of an artifact's custom metadata, as JSON.
MAX_METADATA_BYTES: Final = 64 * KIB
#: Bytes of one artifact version.
MAX_ARTIFACT_BYTES: Final = 16 * GIB
#: Artifact bytes up to this many may ride inside the message; more are staged beside it.
MAX_INLINE_BYTES: Final = 64 * KIB
#: Up to so many our own client puts inside when it reaches the blob store: beyond, a file of their
#: own is cheaper than base64 in the outbox, the broker and the worker.
MAX_DIRECT_INLINE_BYTES: Final = 2 * KIB

#: Events in one ``append``.
MAX_EVENTS_PER_APPEND: Final = 1000
#: Operations in one message.
MAX_OPERATIONS_PER_MESSAGE: Final = 1000
#: Events in one message, whatever their operations. Our own client closes a message at 1 MiB, which
#: holds fewer.
MAX_EVENTS_PER_MESSAGE: Final = 20_000
#: Bytes of one operation as JSON; one ``append`` of several events must fit.
MAX_OPERATION_BYTES: Final = 8 * MIB
#: Bytes of one message as JSON.
MAX_MESSAGE_BYTES: Final = 16 * MIB

#: Sessions, artifacts or versions on one page of a listing.
MAX_PAGE_SIZE: Final = 1000
#: Bytes of a listing's cursor.
MAX_CURSOR_BYTES: Final = 4096
#: Message ids in one ``status`` query.
MAX_STATUS_IDS: Final = 1000
#: Events in one reply to ``load``; the client asks for the rest by itself.
MAX_EVENTS_PER_REPLY: Final = 5000
#: Bytes of events, or of an artifact, in one reply to ``load``.
MAX_REPLY_BYTES: Final = 4 * MIB

#: Days after which a client no longer sends a message again. The ledger remembers for longer, so
#: that a late copy is always recognised.
MAX_MESSAGE_AGE_DAYS: Final = 7

#: Blobs in one ``blob.find`` query.
MAX_BLOBS_PER_QUERY: Final = 1000

#: The largest revision, seq or version: a signed 64-bit integer.
MAX_COUNT: Final = 2**63 - 1
