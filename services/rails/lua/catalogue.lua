#!lua flags=allow-oom
-- Keeps what is known of articles; an older version never replaces a newer one.
--
-- KEYS  1 catalogue
-- ARGV  article, version, facts, in turn
-- Reply how many were newer than what was there
local newer = 0
for i = 1, #ARGV, 3 do
  local known = redis.call('HGET', KEYS[1], ARGV[i])
  if not known or tonumber(string.match(known, '^%d+')) < tonumber(ARGV[i + 1]) then
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1] .. ' ' .. ARGV[i + 2])
    newer = newer + 1
  end
end
return newer
