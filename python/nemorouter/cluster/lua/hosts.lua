-- The registry of hosts: which hosts may admit, and up to which change each has applied all. One hash; one step a call.
--
-- KEYS[1] the hash    ARGV[1] channel of hints    ARGV[2] a fresh number    ARGV[3] what to do    ARGV[4...] with what
-- A field "h:<id>" is a host: its name, `applied` (changes up to it are applied), `n` (rises with each renewal granted),
-- `fence` (without this change none is), `token`, `seen` (for display only) and `about`, its own description.
-- No step decides by Redis's clock: a lease is over when a watcher saw for long enough that `n` stood still.

local hash, channel = KEYS[1], ARGV[1]

local function number(field)
  return tonumber(redis.call('HGET', hash, field) or 0)
end

local function host(id)
  local packed = redis.call('HGET', hash, 'h:' .. id)
  return packed and cmsgpack.unpack(packed)
end

local function keep(id, entry)
  redis.call('HSET', hash, 'h:' .. id, cmsgpack.pack(entry))
end

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

-- Another process has this data set than before: it was restarted, or a replica was promoted. Renewals may be forgotten.
-- The time is part of the name: a call that is repeated after the data set was lost must not bring an old epoch back.
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
local epoch = redis.call('HGET', hash, 'epoch')
if not epoch or redis.call('HGET', hash, 'run') ~= run then
  epoch = ARGV[2] .. '-' .. string.format('%.0f', now)
  redis.call('HSET', hash, 'epoch', epoch, 'run', run, 'mature', 0)
end

local verdict = ''
local act = {}

-- List the host: from now on every change waits for it. It may not admit yet.
-- `token` is drawn anew for each registration, so that a call that comes late or twice cannot pass for another.
function act.register(id, token, applied, name, about)
  local entry = host(id) or { applied = 0, n = now, fence = 0, seen = 0 }
  entry.applied = math.max(entry.applied, tonumber(applied))
  entry.n = entry.n + 1
  entry.token, entry.new, entry.name, entry.about = token, true, name, about
  keep(id, entry)
  return 'registered'
end

function act.renew(id, token, applied, name, about)
  local entry = host(id)
  if not entry or entry.token ~= token then
    return 'unknown'
  end
  entry.applied = math.max(entry.applied, tonumber(applied))
  verdict = 'behind'
  if entry.applied >= entry.fence and not (entry.new and entry.applied < number('announced')) then
    verdict = 'granted'
    entry.n, entry.new = entry.n + 1, false
    entry.seen, entry.name, entry.about = now, name, about
  end
  keep(id, entry)
  return verdict
end

-- Announce a change: a new host gets no lease without it from now on, and the hosts named get no renewal.
function act.announce(sequence, loud, ...)
  sequence = tonumber(sequence)
  if sequence > number('announced') then
    redis.call('HSET', hash, 'announced', string.format('%.0f', sequence))
  end
  for _, id in ipairs({ ... }) do
    local entry = host(id)
    if entry and entry.fence < sequence then
      entry.fence = sequence
      keep(id, entry)
    end
  end
  if loud == '1' then
    redis.call('PUBLISH', channel, string.format('%.0f', sequence))
  end
  return ''
end

function act.evict(known, id, n)
  local entry = host(id)
  if known == epoch and entry and entry.n == tonumber(n) then
    redis.call('HDEL', hash, 'h:' .. id)
    return 'evicted'
  end
  return ''
end

function act.mature(known)
  if known == epoch then
    redis.call('HSET', hash, 'mature', 1)
  end
  return ''
end

function act.leave(id)
  redis.call('HDEL', hash, 'h:' .. id)
  return ''
end

-- Count how long a change took until all hosts had applied it: a histogram and the sum, for display.
function act.done(bound, micros)
  redis.call('HINCRBY', hash, 'd:' .. bound, 1)
  redis.call('HINCRBY', hash, 'd:sum', micros)
  return ''
end

verdict = act[ARGV[3]](unpack(ARGV, 4))

-- Each host renews every second, so a renewal must not cost more when there are more hosts.
local brief = ARGV[3] == 'renew' or ARGV[3] == 'register'
local fields = brief and {} or redis.call('HGETALL', hash)
local reply = { verdict, epoch, number('mature'), number('announced'), now, {}, {} }
for at = 1, #fields, 2 do
  local kind = string.sub(fields[at], 1, 2)
  if kind == 'h:' then
    table.insert(reply[6], { string.sub(fields[at], 3), fields[at + 1] })
  elseif kind == 'd:' then
    table.insert(reply[7], { string.sub(fields[at], 3), fields[at + 1] })
  end
end
return reply
