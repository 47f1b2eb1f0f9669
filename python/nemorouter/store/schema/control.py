"""Tables of the control plane alone: sign-in, invitations, alerts."""

from sqlalchemy import (
    Column,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
)

from nemorouter.store.schema.columns import big_, id_, metadata, ref_, text_

sessions = Table(
    "sessions",
    metadata,
    id_(),
    ref_("user"),
    ref_("org"),
    Column("digest", LargeBinary, nullable=False),  # keyed hash of the cookie's value
    big_("created_ms"),
    big_("seen_ms"),
    big_("expires_ms"),  # whatever happens; being idle ends it earlier
    text_("source_ip", default=""),
    UniqueConstraint("digest"),
    Index(None, "user_id"),
)

invitations = Table(
    "invitations",
    metadata,
    id_(),
    ref_("org"),
    text_("email"),
    Column("role", SmallInteger, nullable=False),
    Column("digest", LargeBinary, nullable=False),  # keyed hash of the link's token
    text_("invited_by"),
    big_("inviter_id", zero=True),  # 0: no person
    big_("created_ms"),
    big_("expires_ms"),
    big_("accepted_ms", null=True),
    big_("revoked_ms", null=True),
    UniqueConstraint("digest"),
    Index(None, "org_id"),
)

throttles = Table(
    "throttles",
    metadata,
    Column("subject", Text, primary_key=True),  # keyed hash of an account or a source
    Column("failures", Integer, nullable=False),
    big_("until_ms"),  # nothing is tried before
    big_("last_ms"),
    Index(None, "last_ms"),
)
"""Attempts to sign in, counted before they are judged, so that a crowd of them is counted too."""

idempotency = Table(
    "idempotency",
    metadata,
    big_("org_id"),
    text_("actor"),
    text_("key"),
    Column("body_hash", LargeBinary, nullable=False),
    Column("status", SmallInteger, nullable=True),  # NULL: begun
    text_("answer", null=True),  # JSON, without any secret
    big_("created_ms"),
    PrimaryKeyConstraint("org_id", "actor", "key"),
    Index(None, "created_ms"),
)

alerts = Table(
    "alerts",
    metadata,
    id_(),
    big_("org_id"),
    Column("kind", SmallInteger, nullable=False),
    big_("scope_id"),
    Column("threshold", SmallInteger, nullable=False),  # per cent of the budget
    Column("duration", SmallInteger, nullable=False),
    Column("window_day", Integer, nullable=False),  # first day of the window
    big_("spent_nano"),
    big_("max_spend_nano"),
    big_("at_ms"),
    UniqueConstraint("kind", "scope_id", "duration", "window_day", "threshold"),
    Index(None, "org_id", "id"),
)

webhooks = Table(
    "webhooks",
    metadata,
    id_(),
    ref_("org"),
    text_("url"),
    text_("salt"),  # the signing secret is derived from it, and never stored
    Column("status", SmallInteger, nullable=False, server_default="1"),
    text_("created_by"),
    big_("created_ms"),
    Index(None, "org_id"),
)

deliveries = Table(
    "deliveries",
    metadata,
    id_(),
    ref_("webhook"),
    ref_("alert"),
    Column(
        "state", SmallInteger, nullable=False, server_default="1"
    ),  # 1 waits, 2 delivered, 3 given up
    Column("attempts", Integer, nullable=False, server_default="0"),
    big_("next_ms"),
    Column("status", SmallInteger, nullable=True),  # of the last answer
    text_("error", default=""),
    Index(None, "state", "next_ms"),
    Index(None, "webhook_id"),
)
