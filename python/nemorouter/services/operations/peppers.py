"""Rotate the pepper on the record: the audit log says who did it and when."""

from sqlalchemy import func, select

from nemorouter.datadir.secrets import load_peppers, retire_pepper, rotate_pepper
from nemorouter.errors import RefusedError
from nemorouter.roles import Actor
from nemorouter.services.transaction.context import Context
from nemorouter.services.transaction.unit import change
from nemorouter.store.fingerprints import known_fingerprints, remember
from nemorouter.store.schema import INSTALLATION, keys
from nemorouter.types import Status


async def rotate(context: Context, actor: Actor) -> list[int]:
    """Add a fresh pepper; answers the valid ids, the current one first."""
    async with change(context, actor, "pepper.rotate") as unit:
        peppers = rotate_pepper(context.settings.pepper_path)
        await remember(unit.connection, await known_fingerprints(unit.connection), peppers)
        await unit.record("pepper.rotated", f"pepper {peppers[0][0]}", org=INSTALLATION)
    return [id for id, _ in peppers]


async def retire(context: Context, actor: Actor) -> list[int]:
    """Drop the old pepper. RefusedError: active keys are still under it."""
    async with change(context, actor, "pepper.rotate") as unit:
        old = [id for id, _ in load_peppers(context.settings.pepper_path)][1:]
        query = select(func.count()).where(
            keys.c.pepper_id.in_(old), keys.c.status == int(Status.ACTIVE)
        )
        active = (await unit.connection.execute(query)).scalar_one()
        if active:
            raise RefusedError(
                f"{active} active keys are under the old pepper; duplicate and revoke them first."
            )
        peppers = retire_pepper(context.settings.pepper_path)
        await unit.record("pepper.retired", f"pepper {old[0]}", org=INSTALLATION)
    return [id for id, _ in peppers]
