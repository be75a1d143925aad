#!lua flags=allow-oom
-- Puts a rebuilt catalogue in the place of the old one, unless the group was given entries
-- that it does not have: what was applied to the old one meanwhile would be lost.
--
-- KEYS  1 stream   2 catalogue   3 rebuilt catalogue
-- ARGV  1 group   2 entry up to which it was rebuilt   3 its number of articles
-- Reply 1 done   0 the group was given later entries
local function place(id)
  local ms, number = string.match(id, '^(%d+)-(%d+)$')
  return tonumber(ms), tonumber(number)
end

local rebuilt_ms, rebuilt_number = place(ARGV[2])
for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local said = {}
  for i = 1, #group, 2 do said[group[i]] = group[i + 1] end
  local ms, number = place(said['last-delivered-id'])
  if said.name == ARGV[1]
      and (ms > rebuilt_ms or ms == rebuilt_ms and number > rebuilt_number) then
    return 0
  end
end
local articles = redis.call('HLEN', KEYS[3])
if articles ~= tonumber(ARGV[3]) then
  return redis.error_reply('ERR the rebuilt catalogue is not whole')
end
redis.call('UNLINK', KEYS[2])
if articles > 0 then redis.call('RENAME', KEYS[3], KEYS[2]) end
return 1
