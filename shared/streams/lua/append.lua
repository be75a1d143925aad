-- Appends once: checks everything, then writes; all in one step.
--
-- A unit is what one request asks of this stream. Units stand or fall each for itself;
-- within a unit either everything is written or nothing.
--
-- KEYS  1 seen ids of this window   2 those of the window before   3 records
--       4... whatever the writes name
-- ARGV  1 seconds to keep a window of seen ids, then for each unit:
--       seen id ('' for none), its value
--       number of expectations, for each: record field, expected value ('' for none)
--       number of writes, for each: command, index in KEYS, number of arguments, arguments
-- Reply for each unit: {'done'}
--       {'seen', value}                       the seen id was there
--       {'changed', value of each expected record, '' for none}
local replies, i = {}, 2

local function take()
  i = i + 1
  return ARGV[i - 1]
end

local function seen_before(id)
  return redis.call('HGET', KEYS[1], id) or redis.call('HGET', KEYS[2], id)
end

while i <= #ARGV do
  local seen_id, seen_value = take(), take()
  local reply
  if seen_id ~= '' then
    local value = seen_before(seen_id)
    if value then reply = {'seen', value} end
  end

  local now, changed = {'changed'}, false
  for _ = 1, tonumber(take()) do
    local field, expected = take(), take()
    local record = redis.call('HGET', KEYS[3], field) or ''
    now[#now + 1] = record
    if record ~= expected then changed = true end
  end
  if not reply and changed then reply = now end

  for _ = 1, tonumber(take()) do
    local command, key = take(), KEYS[tonumber(take())]
    local count = tonumber(take())
    if not reply then redis.call(command, key, unpack(ARGV, i, i + count - 1)) end
    i = i + count
  end

  if not reply and seen_id ~= '' then
    redis.call('HSET', KEYS[1], seen_id, seen_value)
    -- Once a window, so that the append-only file stays small.
    if redis.call('HLEN', KEYS[1]) == 1 then redis.call('EXPIRE', KEYS[1], ARGV[1]) end
  end
  replies[#replies + 1] = reply or {'done'}
end
return replies
