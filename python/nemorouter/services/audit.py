"""The audit log, for those who may read it: its events, and whether anybody edited it."""

from nemorouter.roles import Actor, require
from nemorouter.services.chain import Verdict, verify
from nemorouter.services.context import Context


async def verify_audit(context: Context, actor: Actor) -> Verdict:
    """Check the whole chain: edits, deletions, insertions, a new order, a cut tail."""
    require(actor, "audit.read")
    async with context.store.read() as connection:
        return await verify(connection, context.audit_key)
