"""Which buckets begin full: all of the first epoch, and later those of scopes that are younger."""

from nemorouter.cluster.rates.memory import BankMemory
from nemorouter.cluster.rates.messages import TAGS, BucketAddress
from nemorouter.ids import from_text, to_text
from nemorouter.roles import Actor
from nemorouter.services.scopes import keys
from nemorouter.services.transaction.context import Context
from nemorouter.types import Kind

RPM = 0
FIRST = [1_000 + tag for tag in range(TAGS)]
LATER = [5_000 + tag for tag in range(TAGS)]


async def bucket_of_a_new_key(context: Context, owner: Actor, name: str) -> BucketAddress:
    made = await keys.create(context, owner, keys.NewKey(name=name))
    return BucketAddress(Kind.KEY, from_text("key", made.view.id), owner.org, RPM)


async def test_every_bucket_of_the_first_epoch_begins_full(context: Context, owner: Actor) -> None:
    old = await bucket_of_a_new_key(context, owner, "old")
    memory = BankMemory(context.store)
    assert await memory.full_in([old]) == [0], "before the first epoch is noted"
    await memory.note(FIRST)
    new = await bucket_of_a_new_key(context, owner, "new")
    assert await memory.full_in([old, new]) == [FIRST[owner.org % TAGS]] * 2


async def test_after_a_loss_only_what_is_younger_begins_full(
    context: Context, owner: Actor
) -> None:
    memory = BankMemory(context.store)
    await memory.note(FIRST)
    old = await bucket_of_a_new_key(context, owner, "old")
    await memory.note(LATER)
    new = await bucket_of_a_new_key(context, owner, "new")
    await keys.patch(context, owner, text_of(old), keys.KeyPatch(name="renamed"))
    assert await memory.full_in([old, new]) == [0, LATER[owner.org % TAGS]]
    await memory.note([epoch + 1 for epoch in LATER])
    assert await memory.full_in([new]) == [0], "it may have been used before this loss"


async def test_a_loss_of_one_slot_leaves_the_others_in_their_first_epoch(
    context: Context, owner: Actor
) -> None:
    memory = BankMemory(context.store)
    await memory.note(FIRST)
    old = await bucket_of_a_new_key(context, owner, "old")
    elsewhere = BucketAddress(old.kind, old.id, old.org + 1, RPM)
    lost = old.org % TAGS
    await memory.note([LATER[tag] if tag == lost else FIRST[tag] for tag in range(TAGS)])
    assert await memory.full_in([old, elsewhere]) == [0, FIRST[elsewhere.org % TAGS]]


async def test_a_host_that_comes_later_learns_what_the_first_epoch_was(
    context: Context, owner: Actor
) -> None:
    old = await bucket_of_a_new_key(context, owner, "old")
    await BankMemory(context.store).note(FIRST)
    late = BankMemory(context.store)
    await late.note(LATER)
    assert await late.full_in([old]) == [0]


async def test_without_the_store_a_bucket_begins_empty(context: Context, owner: Actor) -> None:
    memory = BankMemory(context.store)
    await memory.note(FIRST)
    await memory.note(LATER)
    new = await bucket_of_a_new_key(context, owner, "new")
    async with context.store.begin() as connection:
        await connection.exec_driver_sql("ALTER TABLE keys RENAME TO elsewhere")
    assert await memory.full_in([new]) == [0]


def text_of(bucket: BucketAddress) -> str:
    return to_text("key", bucket.id)
