-- The bank of rate leases: one call settles up to 64 buckets for one host. Redis >= 6.2 and Valkey.
--
-- Owns every balance. It must never hand out a token twice: balance + outstanding <= burst after every call, where
-- outstanding is all that living holders may still spend. What a dead holder held is void.
--
-- KEYS: per bucket its epoch key, its hash, and its counter of use. ARGV: time in us (0: the clock of this server; tests
-- move it), TTL of a lease in us, share of the burst that may lie in leases (per mille), then 16 numbers per bucket:
--   nonce  sequence  epoch  place  spent  refunded  refunded-at  need  demand  target  bye  limit  period  burst  version
--   full-in (the epoch in which the bucket begins full, because nothing of it can have been lost; 0: none)
-- A bucket is refilled with `limit` tokens in `period` microseconds.
-- Answer: the time, then 8 numbers per bucket: sequence, epoch, place, balance, wait (us; -1 never), flags (1: another
-- holder was starved lately; 2: what this one held unspent is void), chunk, what others may still spend.
--
-- All numbers are whole and below 2^53, so that doubles hold them exactly.

local SLOT = 1000000         -- the smallest room is remembered for at least this long
local PRESSED = 1000000      -- for how long a starved holder asks the others to give back
local TOMB = 300000000       -- how long a dead holder is remembered
local FOREVER = 2 ^ 52         -- the longest wait (us), and life of a key (ms): a bucket may take longer to fill
local FIELDS = 16
local DIGIT = 32768

local now = tonumber(ARGV[1])
if now == 0 then
  local clock = redis.call('TIME')
  now = tonumber(clock[1]) * 1000000 + tonumber(clock[2])
end
local ttl, share = tonumber(ARGV[2]), tonumber(ARGV[3])

local function text(number)
  return string.format('%.0f', number)
end

-- The moment since when this server has remembered everything: made anew when its data were lost.
local epochs = {}
local function epoch_of(key)
  if not epochs[key] then
    local found = redis.call('GET', key)
    if not found then
      found = text(now)
      redis.call('SET', key, found)
    end
    epochs[key] = tonumber(found)
  end
  return epochs[key]
end

-- (a * b + plus) / c in whole numbers, and the remainder; a and plus are less than c. Long division by the digits of b,
-- so that no product leaves 2^53: c is at most 2^37 (a day in us, 10^11 tokens).
local function divide(a, b, c, plus)
  local low = b % DIGIT
  local mid = (b - low) / DIGIT % DIGIT
  local high = (b - low - mid * DIGIT) / (DIGIT * DIGIT)
  local sum = a * high
  local rest = sum % c
  local whole = (sum - rest) / c
  sum = rest * DIGIT + a * mid
  rest = sum % c
  whole = whole * DIGIT + (sum - rest) / c
  sum = rest * DIGIT + a * low + plus
  rest = sum % c
  return whole * DIGIT + (sum - rest) / c, rest
end

-- Whole tokens issued in `us` microseconds, and the remainder in parts of a token: one for each us of the period.
local function issued(us, limit, period, rem)
  local part = us % period
  local whole, rest = divide(part, limit, period, rem)
  return (us - part) / period * limit + whole, rest
end

-- b balance, o outstanding, t refilled up to, rem remainder; l limit, z burst, v version; n living holders,
-- x next look for dead ones, s last starved; m smallest room since mt, p from pt until mt.
-- In two fields of seven doubles: exact, short enough for a compact hash, and half the time of a field for each.
local SEVEN = '<ddddddd'

local function load(key, holder, ask, epoch)
  local found = redis.call('HMGET', key, holder, '1', '2')
  if found[2] and found[3] then
    local k = {}
    k.b, k.o, k.t, k.rem, k.l, k.z, k.v = struct.unpack(SEVEN, found[2])
    k.n, k.x, k.s, k.m, k.p, k.mt, k.pt = struct.unpack(SEVEN, found[3])
    return k, found[1]
  end
  -- Unknown: full, unless the data may have been lost less than one refill ago: then as if empty when they were lost,
  -- and nothing before the last lease of that time has run out.
  local start = epoch + ttl
  local balance, rem = 0, 0
  if ask.full == epoch then
    start, balance = now, ask.burst
  elseif now > start and ask.limit > 0 then
    balance, rem = issued(now - start, ask.limit, ask.period, 0)
  end
  if balance >= ask.burst then
    balance, rem = ask.burst, 0
  end
  return {
    b = balance, o = 0, t = math.max(now, start), rem = rem, l = ask.limit, z = ask.burst, v = ask.version, n = 0,
    x = now + TOMB, s = 0, m = ask.burst - balance, p = ask.burst - balance, mt = now, pt = now,
  }, false
end

local function refill(bucket, period)
  if now > bucket.t then
    local more
    more, bucket.rem = issued(now - bucket.t, bucket.l, period, bucket.rem)
    bucket.t = now
    bucket.b = bucket.b + more
  end
  if bucket.b >= bucket.z - bucket.o then
    bucket.b, bucket.rem = bucket.z - bucket.o, 0
  end
end

local function relimit(bucket, ask)
  if ask.version > bucket.v then
    bucket.b = bucket.b + ask.burst - bucket.z
    bucket.l, bucket.z, bucket.v = ask.limit, ask.burst, ask.version
  end
end

-- Room only shrinks between two calls, so it is smallest now; `last` is the time of the last call.
local function measure(bucket, last)
  local room = bucket.z - bucket.o - bucket.b
  if now >= bucket.mt + SLOT then
    if now < bucket.mt + 2 * SLOT then
      bucket.p, bucket.pt = math.min(bucket.m, room), bucket.mt
    else
      bucket.p, bucket.pt = room, last
    end
    bucket.m, bucket.mt = room, now
  end
  bucket.m = math.min(bucket.m, room)
end

-- G granted, P spent, R refunded (all cumulative), sequence, expiry, and D dead, A alive, V alive again: void before.
local function unpack_holder(packed)
  local G, P, R, q, till, alive = struct.unpack('<dddddc1', packed)
  return {G = G, P = P, R = R, q = q, till = till, alive = alive ~= 'D', dead = alive == 'D', void = alive == 'V'}
end

local function pack_holder(holder)
  return struct.pack('<dddddc1', holder.G, holder.P, holder.R, holder.q, holder.till,
    not holder.alive and 'D' or holder.void and 'V' or 'A')
end

-- Holders whose lease ran out die: what they held is void. Old tombstones go.
local function expire(key, bucket)
  if now <= bucket.x then
    return false
  end
  bucket.x = now + TOMB
  local all = redis.call('HGETALL', key)
  for at = 1, #all, 2 do
    if string.sub(all[at], 1, 2) == 'w:' then
      local holder = unpack_holder(all[at + 1])
      if holder.alive and holder.till < now then
        bucket.o = bucket.o - (holder.G - holder.P)
        bucket.n = bucket.n - 1
        holder.alive = false
        redis.call('HSET', key, all[at], pack_holder(holder))
      end
      local look = holder.alive and holder.till or holder.till + TOMB
      if look < now then
        redis.call('HDEL', key, all[at])
      else
        bucket.x = math.min(bucket.x, look)
      end
    end
  end
  return true
end

-- Trust the holder's report: a grant that never arrived, or was given back, is credited; one that the bank
-- forgot, or that was overdrawn, becomes debt. A dead holder's tokens stay void: the bucket has been refilled since.
local function reconcile(bucket, holder, ask)
  if holder.alive then
    bucket.o = bucket.o - (holder.G - holder.P)
    bucket.b = bucket.b + math.max(0, holder.G - ask.place)
  else
    bucket.n = bucket.n + 1
  end
  local forgotten = ask.place - holder.G
  if forgotten > 0 then
    bucket.b = math.max(bucket.b - forgotten, math.min(bucket.b, -bucket.z))
  end
  bucket.b = bucket.b - math.max(0, ask.spent - ask.place)
  holder.G = math.max(ask.place, ask.spent)
  holder.P = holder.dead and holder.G or ask.spent
  holder.alive, holder.dead, holder.void = true, false, holder.dead
  bucket.o = bucket.o + (holder.G - holder.P)
  bucket.b = math.min(bucket.b, bucket.z - bucket.o)
end

-- A refund counts as far as the bucket had room ever since; one from before we remember does not.
local function credit(bucket, holder, ask, epoch)
  local refund = ask.refunded - holder.R
  holder.R = math.max(holder.R, ask.refunded)
  if refund <= 0 or ask.refunded_at < epoch + ttl or ask.refunded_at < bucket.pt then
    return
  end
  local room = math.min(bucket.m, bucket.z - bucket.o - bucket.b)
  if ask.refunded_at < bucket.mt then
    room = math.min(room, bucket.p)
  end
  refund = math.max(0, math.min(refund, room))
  bucket.b = bucket.b + refund
  bucket.m, bucket.p = bucket.m - refund, bucket.p - refund
end

local function wait_for(bucket, need, period)
  if need <= bucket.b then
    return 0
  elseif need > bucket.z or bucket.l == 0 then
    return -1
  end
  local missing = need - bucket.b
  local part = missing % bucket.l
  local whole, rest = divide(part, period, bucket.l, 0)
  local refilled = (missing - part) / bucket.l * period + whole + math.ceil((rest - bucket.rem) / bucket.l)
  return math.min(FOREVER, math.max(0, bucket.t - now) + refilled)
end

local function chunk_of(bucket)
  return math.max(1, math.floor(bucket.z * share / (1000 * math.max(1, bucket.n))))
end

local function grant(bucket, holder, ask)
  local give = math.min(math.max(ask.demand, math.min(ask.target, chunk_of(bucket))), math.max(0, bucket.b))
  if give < ask.need then
    bucket.s = now
    give = 0
  end
  bucket.b, bucket.o, holder.G = bucket.b - give, bucket.o + give, holder.G + give
end

local function count(key, rate, spent, refund)
  local used = math.max(0, spent) - math.max(0, refund)
  if used ~= 0 and redis.call('HINCRBY', key, rate, text(used)) == used then
    redis.call('PEXPIRE', key, 8 * 86400000)
  end
end

local function save(key, bucket, name, holder, period)
  local k = bucket
  redis.call('HSET', key, name, pack_holder(holder),
    '1', struct.pack(SEVEN, k.b, k.o, k.t, k.rem, k.l, k.z, k.v),
    '2', struct.pack(SEVEN, k.n, k.x, k.s, k.m, k.p, k.mt, k.pt))
  local full = bucket.l > 0 and (bucket.z - bucket.b) * (period / 1000) / bucket.l or 0
  redis.call('PEXPIRE', key, text(math.ceil(math.min(FOREVER, math.max(TOMB / 1000, 2 * (ttl / 1000 + full))))))
end

local function read(at)
  local values = {}
  for offset = 2, FIELDS do
    values[offset] = tonumber(ARGV[at + offset])
  end
  return {
    nonce = ARGV[at + 1], q = values[2], epoch = values[3], place = values[4], spent = values[5],
    refunded = values[6], refunded_at = values[7], need = values[8], demand = values[9], target = values[10],
    bye = values[11] == 1, limit = values[12], period = values[13], burst = values[14], version = values[15],
    full = values[16],
  }
end

local function first_seen(bucket, ask, epoch)
  local holder = {G = 0, P = 0, R = ask.refunded, q = 0, till = 0, alive = false, dead = false}
  if ask.epoch ~= epoch and ask.full ~= epoch then
    holder.G = ask.place -- from before the loss: the empty start has paid for what it was granted
  end
  return holder
end

local function settle(at, key, use, epoch)
  local ask = read(at)
  local name = 'w:' .. ask.nonce
  local bucket, packed = load(key, name, ask, epoch)
  local last = bucket.t
  refill(bucket, ask.period)
  relimit(bucket, ask)
  measure(bucket, last)
  if expire(key, bucket) and packed then
    packed = redis.call('HGET', key, name)
  end
  local holder = packed and unpack_holder(packed) or first_seen(bucket, ask, epoch)
  if ask.q > holder.q then
    count(use, string.match(key, '[^:]+$'), ask.spent - (packed and holder.P or ask.spent), ask.refunded - holder.R)
    reconcile(bucket, holder, ask)
    credit(bucket, holder, ask, epoch)
    grant(bucket, holder, ask)
    holder.q, holder.till = ask.q, now + ttl
    if ask.bye and holder.G == holder.P then
      bucket.n = bucket.n - 1
      holder.alive, holder.void = false, false
    end
    bucket.x = math.min(bucket.x, holder.till)
  end
  measure(bucket, now)
  save(key, bucket, name, holder, ask.period)
  local flags = (now < bucket.s + PRESSED and 1 or 0) + (holder.void and 2 or 0)
  local others = bucket.o - (holder.alive and holder.G - holder.P or 0)
  return holder.q, epoch, holder.G, bucket.b, wait_for(bucket, ask.need, ask.period), flags, chunk_of(bucket), others
end

local answer = {text(now)}
for index = 1, #KEYS / 3 do
  local epoch = epoch_of(KEYS[3 * index - 2])
  local values = {settle(3 + (index - 1) * FIELDS, KEYS[3 * index - 1], KEYS[3 * index], epoch)}
  for _, value in ipairs(values) do
    answer[#answer + 1] = value
  end
end
return answer
