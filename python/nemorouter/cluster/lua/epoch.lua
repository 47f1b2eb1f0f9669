-- Begin the epoch of each key that has none, so that a bucket made later is known to be no lost one. Answer: all epochs.
local clock = redis.call('TIME')
local now = string.format('%.0f', tonumber(clock[1]) * 1000000 + tonumber(clock[2]))
local answer = {}
for index, key in ipairs(KEYS) do
  redis.call('SET', key, now, 'NX')
  answer[index] = redis.call('GET', key)
end
return answer
